package mvcc

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"github.com/troupe-raft/troupe/kv/mvcc/engine"
)

func TestOpenErrorHasAdviceForItsCauseOnly(t *testing.T) {
	advice := []string{"belong to the user", "rejoin", "another process", "the version of troupe that wrote it"}
	for _, c := range []struct {
		err  error
		want string // one of advice, or none
	}{
		{&fs.PathError{Op: "open", Path: "/kv/1", Err: syscall.EACCES}, advice[0]},
		{fmt.Errorf("checksum: %w", engine.ErrCorrupt), advice[1]},
		{&fs.PathError{Op: "lock", Path: "/kv/LOCK", Err: syscall.EAGAIN}, advice[2]},
		{errors.New("lock held by current process"), advice[2]},
		{errors.New("written in unknown format major version 99"), advice[3]},
		{&fs.PathError{Op: "write", Path: "/kv/1", Err: syscall.EIO}, ""},
		{&fs.PathError{Op: "open", Path: "/kv/1", Err: syscall.EMFILE}, ""},
	} {
		err := openError("/kv", c.err)
		if !errors.Is(err, c.err) || !strings.Contains(err.Error(), "/kv") {
			t.Errorf("%v lost its cause or its directory", err)
		}
		for _, text := range advice {
			if strings.Contains(err.Error(), text) != (text == c.want) {
				t.Errorf("%v: want the advice %q only", err, c.want)
			}
		}
	}
}
