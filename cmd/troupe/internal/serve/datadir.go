package serve

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/troupe-raft/troupe/cmd/troupe/internal/exit"
)

// checkClusterState checks --initial-cluster-state against the data directory.
func (v *server) checkClusterState() error {
	s := v.settings
	if !s.Existing || hasIdentity(s.DataDir) {
		return nil
	}
	return exit.With(exit.DataDir, fmt.Errorf("--initial-cluster-state=existing, but %s holds no member: name this member's data directory, "+
		"or, if the directory was lost, start with --initial-cluster-state=rejoin and run 'troupe member rejoin'; if the cluster is new, "+
		"start with --initial-cluster-state=new (a member cannot be added to a running cluster in this version)", s.DataDir))
}

// refuseEtcdData refuses to begin an empty store where etcd keeps its data: the operator has
// replaced the binary and expects the keys to be there. Where --data-dir is not set, etcd's default
// directory beside this server's counts too.
func (v *server) refuseEtcdData() error {
	s := v.settings
	if hasIdentity(s.DataDir) {
		return nil
	}
	const advice = "choose another directory; to take the keys over, start etcd on its directory and run 'etcdctl make-mirror' " +
		"from it to this server (docs/operations.md)"
	if holdsEtcdData(s.DataDir) {
		return exit.With(exit.DataDir, fmt.Errorf("--data-dir: %s holds data of etcd, which this server cannot read; %s", s.DataDir, advice))
	}
	if beside := filepath.Join(filepath.Dir(s.DataDir), s.Name+".etcd"); !s.DataDirGiven && holdsEtcdData(beside) {
		return exit.With(exit.DataDir, fmt.Errorf("--data-dir is not set, and %s holds data of etcd, which this server cannot read; %s", beside, advice))
	}
	return nil
}

// holdsEtcdData reports whether a directory is a data directory of etcd, or the folder member of
// one.
func holdsEtcdData(dir string) bool {
	return isDir(filepath.Join(dir, "member")) || isDir(filepath.Join(dir, "snap")) && isDir(filepath.Join(dir, "wal"))
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

func hasIdentity(dataDir string) bool {
	_, err := os.Stat(filepath.Join(dataDir, "identity.json"))
	return err == nil
}
