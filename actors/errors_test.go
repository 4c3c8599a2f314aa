package actors

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
)

// If a state machine's disk fails, the command is not the cause: other replicas can apply it.
func TestApplicationErrorAdvisesOnDiskFailures(t *testing.T) {
	for _, c := range []struct {
		cause  error
		advice string
	}{
		{fmt.Errorf("write 000009.log: %w", syscall.ENOSPC), "make room on its disk"},
		{fmt.Errorf("write 000009.log: %w", syscall.EDQUOT), "make room on its disk"},
		{fmt.Errorf("sync 000009.log: %w", syscall.EIO), "check its disk"},
		{fmt.Errorf("sync 000009.log: %w", syscall.EROFS), "check its disk"},
		{errors.New("unknown command"), ""},
	} {
		for _, index := range []uint64{0, 12} {
			text := (&ApplicationError{Index: index, CommandHash: "1eb79602411ef02c", Err: c.cause}).Error()
			if !strings.Contains(text, c.cause.Error()) || !strings.Contains(text, c.advice) || (c.advice == "") == strings.Contains(text, "start the node again") {
				t.Errorf("%v at %d is reported as %q", c.cause, index, text)
			}
		}
	}
}
