package persistence

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/troupe-raft/troupe/persistence/vfs"
)

// A directory that a peer refused is not used again, whatever the peers know by then, and whatever
// the operator starts it as (E37).
func TestRefusedDirectoryIsNotOpened(t *testing.T) {
	disk := vfs.NewMem()
	d, err := OpenDataDir(disk, "/data", testIdentity())
	mustSucceed(t, err)
	mustSucceed(t, d.RecordRefusal(0x10, "its directory is an older copy"))
	mustSucceed(t, d.Close())
	disk = disk.CrashClone(vfs.LoseUnsynced)
	for _, rejoining := range []bool{false, true, false} {
		want := testIdentity()
		want.Rejoining = rejoining
		_, err := OpenDataDir(disk, "/data", want)
		var refused *RefusedError
		if !errors.As(err, &refused) || refused.Peer != 0x10 || refused.Reason != "its directory is an older copy" ||
			!strings.Contains(err.Error(), RefusedFile) {
			t.Fatalf("rejoining=%v: %v", rejoining, err)
		}
	}
}

// A record that cannot be read keeps the directory from being used too.
func TestDamagedRefusalIsNotIgnored(t *testing.T) {
	disk := vfs.NewMem()
	d, err := OpenDataDir(disk, "/data", testIdentity())
	mustSucceed(t, err)
	mustSucceed(t, d.RecordRefusal(3, "another directory"))
	mustSucceed(t, d.Close())
	path := filepath.Join("/data", RefusedFile)
	b, err := readSmallFile(disk, path)
	mustSucceed(t, err)
	for at := range b {
		changed := append([]byte(nil), b...)
		changed[at] ^= 4
		mustSucceed(t, replaceFile(disk, "/data", RefusedFile, changed))
		if d, err := OpenDataDir(disk, "/data", testIdentity()); err == nil {
			d.Close()
			t.Fatalf("byte %d changed: the directory is used", at)
		}
	}
}
