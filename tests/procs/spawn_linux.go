package procs

import (
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// spawner starts every process from one operating system thread that lives as long as the program.
// The kernel sends a child its parent-death signal when the thread that made it ends, and the Go
// runtime may end any other thread: so a child started elsewhere could be killed too early, and one
// started without the signal could outlive a test that was killed, keep its ports and load the
// machine of the next run.
var spawner = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range work {
			f()
		}
	}()
	return work
})

func spawn(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig: syscall.SIGKILL,
		Setpgid:   true, // Ctrl-C in a terminal reaches only the program that started it all
	}
	started := make(chan error)
	spawner() <- func() { started <- cmd.Start() }
	return <-started
}
