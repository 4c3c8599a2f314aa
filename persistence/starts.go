package persistence

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"

	"github.com/troupe-raft/troupe/raft"
)

// StartsFile is the file that counts the starts on a data directory.
const StartsFile = "starts.json"

// startsJSON is the content of the file.
type startsJSON struct {
	FormatVersion uint32 `json:"formatVersion"`
	// StorageID is that of the directory, so that the file of another one is recognised.
	StorageID string   `json:"storageId"`
	Count     uint64   `json:"count"`
	IDs       []string `json:"ids"`
	Checksum  string   `json:"checksum"`
}

func (j *startsJSON) computeChecksum() string {
	b := fmt.Appendf(nil, "%d|%s|%d", j.FormatVersion, j.StorageID, j.Count)
	for _, id := range j.IDs {
		b = fmt.Appendf(b, "|%s", id)
	}
	return fmt.Sprintf("%08x", checksum(b))
}

// recordStart counts this start, and stores the count: it is on the disk before a peer learns of
// it, so no two starts that peers met have the same number, unless a copy of the directory was
// started (raft.Starts). A start that ends before it meets a peer leaves a gap.
func (d *DataDir) recordStart(id uint64) error {
	path := filepath.Join(d.dir, StartsFile)
	former, err := readStarts(d, path)
	if err != nil {
		return err
	}
	d.starts = former.Next(id)
	j := startsJSON{FormatVersion: formatVersion, StorageID: hex.EncodeToString(d.Identity.StorageID[:]), Count: d.starts.Count}
	for _, id := range d.starts.IDs {
		j.IDs = append(j.IDs, fmt.Sprintf("%016x", id))
	}
	j.Checksum = j.computeChecksum()
	b, err := json.MarshalIndent(j, "", "  ")
	if err != nil {
		return fmt.Errorf("create %s: %w", path, err)
	}
	return replaceFile(d.fs, d.dir, StartsFile, append(b, '\n'))
}

// readStarts returns the starts so far; none if there is no file.
func readStarts(d *DataDir, path string) (s raft.Starts, err error) {
	b, err := readSmallFile(d.fs, path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return s, nil
	case err != nil:
		return s, err
	}
	var j startsJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return s, corruptError(path, 0, "%v", err)
	}
	if j.FormatVersion != formatVersion {
		return s, &formatError{File: path, Found: j.FormatVersion}
	}
	if j.Checksum != j.computeChecksum() {
		return s, corruptError(path, 0, "checksum %q, %q expected", j.computeChecksum(), j.Checksum)
	}
	if want := hex.EncodeToString(d.Identity.StorageID[:]); j.StorageID != want {
		return s, &mismatchError{Kind: ErrWrongMember, File: path, Field: "storage id", Found: j.StorageID, Want: want}
	}
	s.Count = j.Count
	for _, text := range j.IDs {
		id, err := strconv.ParseUint(text, 16, 64)
		if err != nil {
			return s, corruptError(path, 0, "invalid start id %q", text)
		}
		s.IDs = append(s.IDs, id)
	}
	return s, nil
}
