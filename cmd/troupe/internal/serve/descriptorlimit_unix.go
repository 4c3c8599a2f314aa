//go:build unix

package serve

import "golang.org/x/sys/unix"

// descriptorLimit returns how many files the process may have open, or 0 if that is unknown.
func descriptorLimit() uint64 {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return uint64(limit.Cur)
}
