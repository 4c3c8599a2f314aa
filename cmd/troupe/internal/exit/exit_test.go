package exit

import (
	"errors"
	"fmt"
	"testing"
)

func TestAnErrorKeepsTheCodeOfWhoSawItFirst(t *testing.T) {
	first := With(Certificate, errors.New("key does not match"))
	wrapped := With(Usage, fmt.Errorf("starting: %w", first))
	if got := CodeOf(wrapped); got != Certificate {
		t.Fatalf("code %d, want %d", got, Certificate)
	}
	if CodeOf(nil) != OK || CodeOf(errors.New("x")) != Failure || With(Usage, nil) != nil {
		t.Fatal("nil is OK, and an error without a code is a Failure")
	}
}

func TestAnErrorOfSeveralLinesIsToldInOne(t *testing.T) {
	got := Line(errors.Join(errors.New("first\n"), errors.New("  second")))
	if got != "first; second" {
		t.Fatalf("%q", got)
	}
}
