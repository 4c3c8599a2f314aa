package serve

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/troupe-raft/troupe/cmd/troupe/internal/exit"
	"github.com/troupe-raft/troupe/cmd/troupe/internal/settings"
)

func TestDataOfEtcdIsRefused(t *testing.T) {
	for _, c := range []struct {
		name      string
		paths     []string // under the parent of the data directory
		dataDir   string
		given, ok bool
	}{
		{"nothing there", nil, "a.troupe", false, true},
		{"etcd's directory", []string{"etcd/member/snap"}, "etcd", true, false},
		{"its folder member", []string{"etcd/member/snap", "etcd/member/wal"}, "etcd/member", true, false},
		{"etcd's default beside ours", []string{"a.etcd/member/wal"}, "a.troupe", false, false},
		{"etcd's default beside a chosen one", []string{"a.etcd/member/wal"}, "data", true, true},
		{"another member's beside ours", []string{"b.etcd/member/wal"}, "a.troupe", false, true},
		{"ours, begun before", []string{"etcd/member/wal", "etcd/identity.json"}, "etcd", true, true},
		{"a mount point", []string{"data/lost+found"}, "data", true, true},
	} {
		parent := t.TempDir()
		for _, path := range c.paths {
			if err := os.MkdirAll(filepath.Join(parent, path), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		v := &server{settings: &settings.Server{Name: "a", DataDir: filepath.Join(parent, c.dataDir), DataDirGiven: c.given}}
		err := v.refuseEtcdData()
		if c.ok != (err == nil) {
			t.Errorf("%s: %v", c.name, err)
		}
		if err != nil && (exit.CodeOf(err) != exit.DataDir || !strings.Contains(err.Error(), "make-mirror")) {
			t.Errorf("%s: code %d, %v", c.name, exit.CodeOf(err), err)
		}
	}
}
