package persistence

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/troupe-raft/troupe/raft"
)

// peersFormatVersion is the format of peers.json with starts. Without any it is formatVersion, so
// that a program that knows no starts reads it.
const peersFormatVersion = 2

// peersJSON is the content of peers.json.
type peersJSON struct {
	FormatVersion uint32 `json:"formatVersion"`
	// NodeID and StorageID are those of the owner, so that the file of another directory is
	// recognised.
	NodeID    string `json:"nodeId"`
	StorageID string `json:"storageId"`
	// Peers maps the id of each member that this one has met to the storage id that it had.
	Peers map[string]string `json:"peers"`
	// Starts maps the storage id of each of these to the last start on it that this member met.
	Starts   map[string]startJSON `json:"starts,omitempty"`
	Checksum string               `json:"checksum"`
}

// startJSON is a metStart.
type startJSON struct {
	Number uint64 `json:"number"`
	ID     string `json:"id"`
	Index  uint64 `json:"index"`
}

func (j *peersJSON) computeChecksum() string {
	b := fmt.Appendf(nil, "%d|%s|%s", j.FormatVersion, j.NodeID, j.StorageID)
	for _, id := range slices.Sorted(maps.Keys(j.Peers)) {
		b = fmt.Appendf(b, "|%s=%s", id, j.Peers[id])
	}
	for _, storage := range slices.Sorted(maps.Keys(j.Starts)) {
		start := j.Starts[storage]
		b = fmt.Appendf(b, "|%s:%d:%s", storage, start.Number, start.ID)
		if j.FormatVersion >= peersFormatVersion {
			b = fmt.Appendf(b, ":%d", start.Index)
		}
	}
	return fmt.Sprintf("%08x", checksum(b))
}

func encodePeers(owner Identity, peers map[uint64]string, starts map[string]metStart) ([]byte, error) {
	j := peersJSON{
		FormatVersion: formatVersion, NodeID: fmt.Sprintf("%016x", owner.NodeID),
		StorageID: hex.EncodeToString(owner.StorageID[:]), Peers: make(map[string]string, len(peers)),
		Starts: make(map[string]startJSON, len(starts)),
	}
	for id, storage := range peers { // order does not matter: it fills a map, which is encoded by key
		j.Peers[fmt.Sprintf("%016x", id)] = hex.EncodeToString([]byte(storage))
	}
	for storage, start := range starts { // order does not matter: as above
		j.Starts[hex.EncodeToString([]byte(storage))] = startJSON{Number: start.Number, ID: fmt.Sprintf("%016x", start.ID), Index: start.index}
	}
	if len(starts) > 0 {
		j.FormatVersion = peersFormatVersion
	}
	j.Checksum = j.computeChecksum()
	b, err := json.MarshalIndent(j, "", "  ")
	return append(b, '\n'), err
}

func decodePeers(path string, b []byte, owner Identity) (map[uint64]string, map[string]metStart, error) {
	var j peersJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return nil, nil, corruptError(path, 0, "%v", err)
	}
	if j.FormatVersion < formatVersion || j.FormatVersion > peersFormatVersion {
		return nil, nil, &formatError{File: path, Found: j.FormatVersion, Reads: peersFormatVersion}
	}
	if j.Checksum != j.computeChecksum() {
		return nil, nil, corruptError(path, 0, "checksum %q, %q expected", j.computeChecksum(), j.Checksum)
	}
	if want := hex.EncodeToString(owner.StorageID[:]); j.StorageID != want {
		return nil, nil, &mismatchError{Kind: ErrWrongMember, File: path, Field: "storage id", Found: j.StorageID, Want: want}
	}
	if want := fmt.Sprintf("%016x", owner.NodeID); j.NodeID != want {
		return nil, nil, &mismatchError{Kind: ErrWrongMember, File: path, Field: "node id", Found: j.NodeID, Want: want}
	}
	peers := make(map[uint64]string, len(j.Peers))
	for _, text := range slices.Sorted(maps.Keys(j.Peers)) {
		id, err := strconv.ParseUint(text, 16, 64)
		storage, storageErr := hex.DecodeString(j.Peers[text])
		if err := errors.Join(err, storageErr); err != nil || id == 0 || len(storage) == 0 {
			return nil, nil, corruptError(path, 0, "invalid ids: member %q, storage %q", text, j.Peers[text])
		}
		peers[id] = string(storage)
	}
	starts := make(map[string]metStart, len(j.Starts))
	for _, text := range slices.Sorted(maps.Keys(j.Starts)) {
		storage, err := hex.DecodeString(text)
		id, idErr := strconv.ParseUint(j.Starts[text].ID, 16, 64)
		if err := errors.Join(err, idErr); err != nil || len(storage) == 0 || j.Starts[text].Number == 0 {
			return nil, nil, corruptError(path, 0, "invalid start %+v of storage id %q", j.Starts[text], text)
		}
		starts[string(storage)] = metStart{raft.Start{Number: j.Starts[text].Number, ID: id}, j.Starts[text].Index}
	}
	return peers, starts, nil
}
