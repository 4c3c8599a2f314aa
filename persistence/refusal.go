package persistence

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

// RefusedFile is the file that says that a peer refused the data directory.
const RefusedFile = "refused.json"

// RefusedError reports that a data directory cannot be used any more: a peer refused it at an
// earlier start, because it lacks votes or entries that its member had promised (E37).
type RefusedError struct {
	Path   string // of the file
	Peer   uint64 // the member that refused it
	Reason string // its text, with what to do
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("member %#x refused this data directory at an earlier start, as %s says: %s", e.Peer, e.Path, e.Reason)
}

// refusedJSON is the content of the file.
type refusedJSON struct {
	FormatVersion uint32 `json:"formatVersion"`
	StorageID     string `json:"storageId"`
	Peer          string `json:"peer"`
	Reason        string `json:"reason"`
	Checksum      string `json:"checksum"`
}

func (j *refusedJSON) computeChecksum() string {
	return fmt.Sprintf("%08x", checksum(fmt.Appendf(nil, "%d|%s|%s|%s", j.FormatVersion, j.StorageID, j.Peer, j.Reason)))
}

// RecordRefusal stores that a peer refused the data directory. The peer may forget it: the leader
// that knows what a member acknowledged knows it as long as it leads. So later starts must be
// refused by the directory itself.
func (d *DataDir) RecordRefusal(peer uint64, reason string) error {
	j := refusedJSON{
		FormatVersion: formatVersion, StorageID: hex.EncodeToString(d.Identity.StorageID[:]), Peer: fmt.Sprintf("%016x", peer),
		Reason: reason,
	}
	j.Checksum = j.computeChecksum()
	b, err := json.MarshalIndent(j, "", "  ")
	if err == nil {
		err = replaceFile(d.fs, d.dir, RefusedFile, append(b, '\n'))
	}
	if err != nil {
		return fmt.Errorf("store that this data directory is refused; do not start on it again: %w", err)
	}
	return nil
}

// checkRefusal returns a *RefusedError if a refusal was recorded. A damaged record refuses the
// directory too: a record is written for no other reason.
func (d *DataDir) checkRefusal() error {
	path := filepath.Join(d.dir, RefusedFile)
	b, err := readSmallFile(d.fs, path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	var j refusedJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return corruptError(path, 0, "%v", err)
	}
	if j.FormatVersion != formatVersion {
		return &formatError{File: path, Found: j.FormatVersion}
	}
	if j.Checksum != j.computeChecksum() {
		return corruptError(path, 0, "checksum %q, %q expected", j.computeChecksum(), j.Checksum)
	}
	refused := &RefusedError{Path: path, Reason: j.Reason}
	if _, err := fmt.Sscanf(j.Peer, "%x", &refused.Peer); err != nil {
		return corruptError(path, 0, "invalid member %q", j.Peer)
	}
	return refused
}
