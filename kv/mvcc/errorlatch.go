package mvcc

import (
	"errors"
	"sync/atomic"
)

// failed remembers the first failure of the engine.
type errorLatch struct{ first atomic.Pointer[error] }

func (f *errorLatch) failure() error {
	if p := f.first.Load(); p != nil {
		return *p
	}
	return nil
}

// fail latches err and reports whether it was the first.
func (f *errorLatch) fail(err error) bool { return f.first.CompareAndSwap(nil, &err) }

// joined is errors.Join that keeps a single error as it is.
func joinErrors(a, b error) error {
	if a == nil || b == nil {
		if a == nil {
			return b
		}
		return a
	}
	return errors.Join(a, b)
}
