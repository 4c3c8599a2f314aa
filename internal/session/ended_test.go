package session

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// A program whose deadline has passed must not change the state: nothing is sent for it.
func TestEndedContextSendsNothing(t *testing.T) {
	f := newServingFixture(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 200 {
		if _, err := f.Propose(ctx, []byte("x")); !errors.Is(err, ErrCanceled) {
			t.Fatalf("propose: %v", err)
		}
	}
	before := len(f.sent)
	for mode := ReadIndex; mode <= ReadLocal; mode++ {
		if _, err := f.Read(ctx, mode); !errors.Is(err, ErrCanceled) || errors.Is(err, ErrTimeout) {
			t.Errorf("%v: %v", mode, err)
		}
	}
	if n, _ := f.Pending(); n != 0 || len(f.proposed()) != 0 || len(f.sent) != before {
		t.Errorf("%d commands are pending, sent: %v", n, f.sent)
	}
}

func TestUnknownReadModeIsRefused(t *testing.T) {
	f := newServingFixture(t)
	for _, mode := range []ReadMode{-1, ReadLocal + 1} {
		_, err := f.Read(t.Context(), mode)
		if call := f.BeginRead(mode); err == nil || call.Err == nil || !strings.Contains(err.Error(), "ReadIndex") {
			t.Errorf("%v: %v, %v", mode, err, call.Err)
		}
	}
	if got := ReadLease.String() + " " + ReadMode(9).String(); got != "ReadLease ReadMode(9)" {
		t.Errorf("names: %s", got)
	}
}
