//go:build unix && !linux

package procs

import "errors"

func usageOf(int) (Usage, error) {
	return Usage{}, errors.ErrUnsupported
}

func deviceWritten(string) (uint64, error) {
	return 0, errors.ErrUnsupported
}
