package linktest

import (
	"testing"

	"github.com/troupe-raft/troupe/persistence"
	"github.com/troupe-raft/troupe/persistence/vfs"
	"github.com/troupe-raft/troupe/raft"
)

// Storage returns the data directory of a member, whose storage id ends with a number.
func Storage(number byte) raft.Storage {
	id := make([]byte, 16)
	id[15] = number
	return raft.Storage{ID: id}
}

// Peers returns what a member with this data directory knows of others: nothing yet.
func Peers(t testing.TB, id uint64, storage raft.Storage) *persistence.PeerStorage {
	t.Helper()
	identity := persistence.Identity{ClusterID: 0xc1, NodeID: id, Rejoining: storage.Rejoining}
	copy(identity.StorageID[:], storage.ID)
	dir, err := persistence.OpenDataDir(vfs.NewMem(), "/data", identity)
	if err != nil {
		t.Fatal(err)
	}
	return dir.Peers
}
