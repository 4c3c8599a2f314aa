//go:build unix && !linux

package procs

import (
	"os/exec"
	"syscall"
)

// spawn starts a process in a group of its own, so that Ctrl-C in a terminal reaches only the
// program that started it all. Without Linux's parent-death signal a process outlives a caller that
// was itself killed with SIGKILL.
func spawn(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd.Start()
}
