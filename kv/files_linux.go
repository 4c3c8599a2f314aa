package kv

import (
	"os"

	"golang.org/x/sys/unix"
)

// collectFiles collects the open files of this process, and how many it may have.
func collectFiles(ch metricChannel) {
	if open, err := os.ReadDir("/proc/self/fd"); err == nil {
		ch.gauge("os_fd_used", "The number of used file descriptors.", float64(len(open)))
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err == nil {
		ch.gauge("os_fd_limit", "The file descriptor limit.", float64(limit.Cur))
	}
}
