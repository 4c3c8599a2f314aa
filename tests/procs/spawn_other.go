//go:build unix && !linux

package procs

import (
	"os/exec"
	"syscall"
)

// spawn starts a process in a group of its own, so that a terminal sends Ctrl-C to the program
// alone. Without Linux's parent-death signal the process still runs after the program was killed.
func spawn(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd.Start()
}
