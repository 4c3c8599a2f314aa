package session

import (
	"context"
	"errors"
	"fmt"
)

// The errors of requests. They come wrapped; package troupe describes what each of them says about
// the request.
var (
	ErrNoLeader       = errors.New("no leader")
	ErrOverloaded     = errors.New("overloaded")
	ErrDiskFull       = errors.New("disk full")
	ErrOutcomeUnknown = errors.New("outcome unknown")
	ErrTimeout        = errors.New("timed out")
	ErrCanceled       = errors.New("canceled")
	ErrTooLarge       = errors.New("too large")
	ErrNotProposed    = errors.New("the command was not proposed and has no effect")
)

// ContextErrorKind returns ErrCanceled or ErrTimeout, according to what ended a context.
func ContextErrorKind(cause error) error {
	if errors.Is(cause, context.Canceled) {
		return ErrCanceled
	}
	return ErrTimeout
}

// LimitError is an ErrOverloaded or ErrTooLarge that names the limit that was reached.
type LimitError struct {
	Kind  error  // ErrOverloaded or ErrTooLarge
	Limit string // the name of the field in troupe.Limits, where there is one
	Value uint64 // of the limit
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("%v: limit %s of %d reached; raise it or send less at a time", e.Kind, e.Limit, e.Value)
}

// Unwrap returns the kind.
func (e *LimitError) Unwrap() error { return e.Kind }
