package mvcc

import (
	"cmp"
	"errors"
	"sync/atomic"
)

// errorLatch keeps the first failure of the engine.
type errorLatch struct{ first atomic.Pointer[error] }

func (f *errorLatch) failure() error {
	if p := f.first.Load(); p != nil {
		return *p
	}
	return nil
}

// fail sets err and reports whether it is the first failure.
func (f *errorLatch) fail(err error) bool { return f.first.CompareAndSwap(nil, &err) }

// joinErrors is errors.Join, but returns a single error as it is.
func joinErrors(a, b error) error {
	if a != nil && b != nil {
		return errors.Join(a, b)
	}
	return cmp.Or(a, b)
}
