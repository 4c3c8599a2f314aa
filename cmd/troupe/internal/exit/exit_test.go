package exit

import (
	"errors"
	"fmt"
	"testing"
)

func TestErrorKeepsItsFirstCode(t *testing.T) {
	first := With(Certificate, errors.New("key does not match"))
	wrapped := With(Usage, fmt.Errorf("starting: %w", first))
	if got := CodeOf(wrapped); got != Certificate {
		t.Fatalf("code %d, want %d", got, Certificate)
	}
	if CodeOf(nil) != OK || CodeOf(errors.New("x")) != Failure || With(Usage, nil) != nil {
		t.Fatal("want OK for nil, Failure for an error without a code, and nil for nil with a code")
	}
}

func TestLineJoinsLines(t *testing.T) {
	got := Line(errors.Join(errors.New("first\n"), errors.New("  second")))
	if got != "first; second" {
		t.Fatalf("%q", got)
	}
}
