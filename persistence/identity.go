package persistence

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/troupe-raft/troupe/persistence/vfs"
	"github.com/troupe-raft/troupe/raft"
)

// IdentityFile is the file that holds a data directory's identity.
const IdentityFile = "identity.json"

// Identity is the owner of a data directory. It is written once, when the directory is created.
type Identity struct {
	ClusterID uint64
	NodeID    uint64
	// StorageID is random and made with the directory, so that a member that lost its disk is not
	// taken for the one before (E37).
	StorageID [16]byte
	// CreatedBy is the program and version that created the directory; for the operator.
	CreatedBy string
	// Rejoining: the directory replaces one that was lost. Its member does not vote before a committed
	// configuration names StorageID (docs/protocol.md P103).
	Rejoining bool
}

// identityJSON is the content of the file. The checksum distinguishes damage from the file of
// another member.
type identityJSON struct {
	FormatVersion uint32 `json:"formatVersion"`
	ClusterID     string `json:"clusterId"`
	NodeID        string `json:"nodeId"`
	StorageID     string `json:"storageId"`
	CreatedBy     string `json:"createdBy"`
	Rejoining     bool   `json:"rejoining,omitempty"`
	Checksum      string `json:"checksum"`
}

func (j *identityJSON) computeChecksum() string {
	b := fmt.Appendf(nil, "%d|%s|%s|%s|%s", j.FormatVersion, j.ClusterID, j.NodeID, j.StorageID, j.CreatedBy)
	if j.Rejoining {
		b = append(b, "|rejoining"...)
	}
	return fmt.Sprintf("%08x", checksum(b))
}

func encodeIdentity(id Identity) ([]byte, error) {
	j := identityJSON{
		FormatVersion: formatVersion,
		ClusterID:     fmt.Sprintf("%016x", id.ClusterID), NodeID: fmt.Sprintf("%016x", id.NodeID),
		StorageID: hex.EncodeToString(id.StorageID[:]), CreatedBy: id.CreatedBy, Rejoining: id.Rejoining,
	}
	j.Checksum = j.computeChecksum()
	b, err := json.MarshalIndent(j, "", "  ")
	return append(b, '\n'), err
}

func decodeIdentity(path string, b []byte) (Identity, error) {
	var j identityJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return Identity{}, corruptError(path, 0, "%v", err)
	}
	// The version is checked first: another one may compute its checksum differently.
	if j.FormatVersion != formatVersion {
		return Identity{}, &formatError{File: path, Found: j.FormatVersion}
	}
	if j.Checksum != j.computeChecksum() {
		return Identity{}, corruptError(path, 0, "checksum %q, %q expected", j.computeChecksum(), j.Checksum)
	}
	id := Identity{CreatedBy: j.CreatedBy, Rejoining: j.Rejoining}
	var errs [3]error
	var storage []byte
	id.ClusterID, errs[0] = strconv.ParseUint(j.ClusterID, 16, 64)
	id.NodeID, errs[1] = strconv.ParseUint(j.NodeID, 16, 64)
	storage, errs[2] = hex.DecodeString(j.StorageID)
	if err := errors.Join(errs[:]...); err != nil || copy(id.StorageID[:], storage) != len(id.StorageID) || len(storage) != len(id.StorageID) {
		return Identity{}, corruptError(path, 0, "invalid ids: cluster %q, node %q, storage %q", j.ClusterID, j.NodeID, j.StorageID)
	}
	return id, nil
}

// ReadIdentity reads the identity of a data directory. It returns fs.ErrNotExist if there is none.
func ReadIdentity(filesystem vfs.FS, dir string) (Identity, error) {
	path := filepath.Join(dir, IdentityFile)
	b, err := readSmallFile(filesystem, path)
	if err != nil {
		return Identity{}, err
	}
	return decodeIdentity(path, b)
}

// createIdentity writes the identity of a data directory atomically.
func createIdentity(filesystem vfs.FS, dir string, id Identity) error {
	b, err := encodeIdentity(id)
	if err != nil {
		return fmt.Errorf("create %s: %w", filepath.Join(dir, IdentityFile), err)
	}
	return replaceFile(filesystem, dir, IdentityFile, b)
}

// check returns a *mismatchError if the identity is not the wanted one. A cluster id of 0 in want
// is not compared: a joining node takes the one in its data directory.
func (id Identity) check(dir string, want Identity) error {
	path := filepath.Join(dir, IdentityFile)
	if want.ClusterID != 0 && id.ClusterID != want.ClusterID {
		return &mismatchError{Kind: ErrWrongCluster, File: path, Field: "cluster id",
			Found: raft.FormatID(id.ClusterID), Want: raft.FormatID(want.ClusterID)}
	}
	if id.NodeID != want.NodeID {
		return &mismatchError{Kind: ErrWrongMember, File: path, Field: "node id",
			Found: raft.FormatID(id.NodeID), Want: raft.FormatID(want.NodeID)}
	}
	if want.Rejoining && !id.Rejoining {
		return fmt.Errorf("%w: %s holds the data of this member: to go on with it, start without rejoin; "+
			"to replace it, move the directory away first", ErrNotEmpty, dir)
	}
	return nil
}
