package procs

import (
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// spawner starts every process from one operating system thread that exists until the program ends.
//
// The parent-death signal ends the processes with the program, so that a killed test leaves no
// servers that use ports and CPU. The kernel sends that signal when the thread ends that started
// the process, and the Go runtime may end any thread that is not locked to a goroutine.
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
		Setpgid:   true, // so that a terminal sends Ctrl-C to the program alone
	}
	started := make(chan error)
	spawner() <- func() { started <- cmd.Start() }
	return <-started
}
