package cluster

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/troupe-raft/troupe/tests/procs"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// The data directory of one member is a small tmpfs that becomes full. The tests of the log and the
// simulator cover many full disks, but with a model of the file system and of Pebble; this test has
// the real ones.

// mountSmallDisk mounts a tmpfs as the data directory of a member before its first start.
func mountSmallDisk(t *testing.T, m *procs.Member, options string) {
	t.Helper()
	mustSucceed(t, os.MkdirAll(m.DataDir, 0o700))
	if err := syscall.Mount("tmpfs", m.DataDir, "tmpfs", 0, options); err != nil {
		t.Skipf("mounting a tmpfs is not permitted: %v", err)
	}
	t.Cleanup(func() {
		if m.Running() {
			_ = m.Kill() // it has open files there
		}
		if err := syscall.Unmount(m.DataDir, 0); err != nil {
			t.Error(err)
		}
	})
}

// fill writes a file until the disk is full. The returned function removes the file.
func fill(t *testing.T, dir string) (empty func()) {
	t.Helper()
	path := filepath.Join(dir, "filler")
	f, err := os.Create(path)
	mustSucceed(t, err)
	defer f.Close()
	if _, err := io.Copy(f, zeros{}); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("filling the disk: %v", err)
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// useUpInodes creates files until no inode is free. The returned function removes them.
func useUpInodes(t *testing.T, dir string) (empty func()) {
	t.Helper()
	var created []string
	for i := 0; ; i++ {
		path := filepath.Join(dir, fmt.Sprintf("file-%d", i))
		f, err := os.Create(path)
		if errors.Is(err, syscall.ENOSPC) {
			break
		}
		mustSucceed(t, err)
		created = append(created, path)
		_ = f.Close()
	}
	return func() {
		for _, path := range created {
			if err := os.Remove(path); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestMemberWithFullDiskEndsAndRecovers(t *testing.T) {
	skipUnlessTroupe(t) // etcd panics with another exit code
	for name, c := range map[string]struct {
		options string
		exhaust func(*testing.T, string) func()
	}{
		"no space":  {"size=64m", fill},
		"no inodes": {"size=300m,nr_inodes=60", useUpInodes},
	} {
		t.Run(name, func(t *testing.T) {
			cluster, err := procs.NewCluster(procs.Config{Program: program, Size: 3, Dir: t.TempDir()})
			mustSucceed(t, err)
			m := cluster.Members[2]
			closeOnCleanup(t, cluster)
			mountSmallDisk(t, m, c.options)
			mustSucceed(t, cluster.Start(contextWithin(t, 5*time.Minute)))
			live := watchLive(t, cluster)
			l := startLoad(t, cluster)
			l.awaitWrites(t, 100)
			makeRoom := c.exhaust(t, m.DataDir)
			putUntilExit(t, m, dial(t, cluster.Members[0].Endpoint(), cluster.Members[1].Endpoint()))
			mustExitForDisk(t, m)
			l.awaitWrites(t, 100)
			if err := m.Launch(); err != nil { // as a process supervisor does
				t.Fatal(err)
			}
			mustExitForDisk(t, m)
			makeRoom()
			start(t, m)
			l.awaitWrites(t, 100)
			verify(t, cluster, l.finish(), live)
		})
	}
}

// putUntilExit writes values through the other members until m ends. The values are large, because
// many small ones fit into the space that the log has allocated. If m leads when its disk is nearly
// full, it refuses writes until it has transferred its leadership, a heartbeat later.
func putUntilExit(t *testing.T, m *procs.Member, others *clientv3.Client) {
	t.Helper()
	ctx := contextWithin(t, 5*time.Minute)
	value := strings.Repeat("v", 256<<10)
	for i, refused := 0, 0; m.Running(); i++ {
		_, err := others.Put(ctx, fmt.Sprintf("%slarge%d", loadPrefix, i%8), fmt.Sprint(i, value))
		if errors.Is(err, rpctypes.ErrNoSpace) && refused < 1000 {
			refused++
			continue
		}
		if err != nil {
			t.Fatalf("put %d at the other members: %v", i, err)
		}
	}
}

func mustExitForDisk(t *testing.T, m *procs.Member) {
	t.Helper()
	code, err := m.Process().ExitCode(contextWithin(t, 2*time.Minute))
	mustSucceed(t, err)
	output := strings.TrimSpace(m.Process().Output())
	last := output[strings.LastIndex(output, "\n")+1:]
	if code != 5 || !strings.HasPrefix(last, "troupe: ") || !strings.Contains(last, "no space left") || !strings.Contains(last, "make room") {
		t.Fatalf("the member ended with code %d; its last line:\n%s", code, last)
	}
}
