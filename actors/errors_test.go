package actors

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
)

// A state machine whose disk fails does not fail on a command: another replica, and this one with a sound disk, apply it.
func TestAStateMachinesDiskThatFailsIsToldFromACommandThatCannotBeApplied(t *testing.T) {
	for _, c := range []struct {
		cause error
		says  string
	}{
		{fmt.Errorf("write 000009.log: %w", syscall.ENOSPC), "make room on its disk"},
		{fmt.Errorf("write 000009.log: %w", syscall.EDQUOT), "make room on its disk"},
		{fmt.Errorf("sync 000009.log: %w", syscall.EIO), "check its disk"},
		{fmt.Errorf("sync 000009.log: %w", syscall.EROFS), "check its disk"},
		{errors.New("unknown command"), ""},
	} {
		for _, index := range []uint64{0, 12} {
			fault := (&ApplicationError{Index: index, CommandHash: "1eb79602411ef02c", Err: c.cause}).Error()
			if !strings.Contains(fault, c.cause.Error()) || !strings.Contains(fault, c.says) || (c.says == "") == strings.Contains(fault, "start the node again") {
				t.Errorf("%v at %d is told as %q", c.cause, index, fault)
			}
		}
	}
}
