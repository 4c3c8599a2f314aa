package linktest

import (
	"encoding/binary"
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

// Peers returns what a member with this data directory knows of others: nothing yet. It has the
// starts of storage, of which the first has the id 0; one if storage names none.
func Peers(t testing.TB, id uint64, storage raft.Storage) *persistence.PeerStorage {
	t.Helper()
	identity := persistence.Identity{ClusterID: 0xc1, NodeID: id, Rejoining: storage.Rejoining}
	copy(identity.StorageID[:], storage.ID)
	disk := vfs.NewMem()
	dir, err := persistence.OpenDataDir(disk, "/data", identity)
	if err != nil {
		t.Fatal(err)
	}
	for i, start := range storage.Starts.IDs {
		if i == 0 {
			continue
		}
		dir.Close()
		binary.LittleEndian.PutUint64(identity.StorageID[:], start)
		if dir, err = persistence.OpenDataDir(disk, "/data", identity); err != nil {
			t.Fatal(err)
		}
	}
	return dir.Peers
}

// Started returns a data directory of a member after some starts with the given ids.
func Started(storage raft.Storage, ids ...uint64) raft.Storage {
	storage.Starts = raft.Starts{Count: uint64(len(ids)), IDs: ids}
	return storage
}
