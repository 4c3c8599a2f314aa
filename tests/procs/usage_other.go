//go:build unix && !linux

package procs

import "errors"

func usageOf(int) (Usage, error) {
	return Usage{}, errors.ErrUnsupported
}
