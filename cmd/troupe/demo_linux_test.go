package main

import (
	"errors"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The members end with the demo, also when the demo is killed.
func TestMembersEndWithKilledDemo(t *testing.T) {
	p := startDemo(t, "--members=1")
	_, _, pid := waitForIntroduction(t, p)
	member, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		t.Skipf("no pidfd here: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(member)
	p.signal(syscall.SIGKILL)
	deadline := time.Now().Add(testTimeout)
	for {
		ready, err := unix.Poll([]unix.PollFd{{Fd: int32(member), Events: unix.POLLIN}}, int(time.Until(deadline).Milliseconds()))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			t.Fatal(err)
		case ready == 0:
			_ = syscall.Kill(pid, syscall.SIGKILL)
			t.Fatal("the member still runs")
		default:
			return
		}
	}
}
