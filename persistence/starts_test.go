package persistence

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence/vfs"
	"github.com/troupe-raft/troupe/raft"
)

// startOn starts member 7 on a disk, and returns its open directory.
func startOn(t *testing.T, disk vfs.FS, start byte) *DataDir {
	t.Helper()
	want := Identity{ClusterID: 0xc1, NodeID: 7, StorageID: [16]byte{start}}
	d, err := OpenDataDir(disk, "/data", want)
	mustSucceed(t, err)
	t.Cleanup(func() { d.Close() })
	return d
}

// A start is counted on the disk before the directory is used: no later one has its number.
func TestStartIsCountedDurably(t *testing.T) {
	disk := vfs.NewMem()
	for start := byte(1); start <= 3; start++ {
		d := startOn(t, disk, start)
		own := d.Peers.Own()
		if want := (raft.Start{Number: uint64(start), ID: uint64(start)}); own.Starts.Present() != want || len(own.Starts.IDs) != int(start) {
			t.Fatalf("start %d: %+v", start, own.Starts)
		}
		if got := d.Storage(); got.Starts.Present() != own.Starts.Present() || !bytes.Equal(got.ID, own.ID) {
			t.Fatalf("start %d: %+v", start, got)
		}
		disk = disk.CrashClone(vfs.LoseUnsynced)
	}
	disk.Inject(func(op vfs.Op) error {
		if op.Kind == vfs.OpSync && strings.Contains(op.Path, StartsFile) {
			return syscall.EIO
		}
		return nil
	})
	if _, err := OpenDataDir(disk, "/data", Identity{ClusterID: 0xc1, NodeID: 7}); !errors.Is(err, syscall.EIO) {
		t.Fatalf("the count cannot be stored: %v", err)
	}
}

// A directory of a release that did not count has no count: its next start is the first.
func TestDirectoryWithoutACountIsReadable(t *testing.T) {
	disk := vfs.NewMem()
	startOn(t, disk, 1).Close()
	mustSucceed(t, disk.Remove("/data/"+StartsFile))
	if got := startOn(t, disk, 2).Peers.Own().Starts; got.Count != 1 || !slices.Equal(got.IDs, []uint64{2}) {
		t.Fatalf("%+v", got)
	}
}

func TestDamagedStartsFileIsRefused(t *testing.T) {
	disk := vfs.NewMem()
	startOn(t, disk, 0x77).Close()
	good, err := readSmallFile(disk, "/data/"+StartsFile)
	mustSucceed(t, err)
	another := vfs.NewMem()
	startOn(t, another, 0x78)
	others, err := readSmallFile(another, "/data/"+StartsFile)
	mustSucceed(t, err)
	for what, c := range map[string]struct {
		contents []byte
		want     error
	}{
		"another count":             {bytes.Replace(good, []byte("count\": 1"), []byte("count\": 2"), 1), ErrCorrupt},
		"another id":                {bytes.Replace(good, []byte("77\"\n"), []byte("78\"\n"), 1), ErrCorrupt},
		"another format":            {bytes.Replace(good, []byte("Version\": 1"), []byte("Version\": 2"), 1), ErrFormat},
		"of another data directory": {others, ErrWrongMember},
		"empty":                     {nil, ErrCorrupt},
	} {
		mustSucceed(t, replaceFile(disk, "/data", StartsFile, c.contents))
		if _, err := OpenDataDir(disk, "/data", Identity{ClusterID: 0xc1, NodeID: 7}); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", what, err, c.want)
		}
	}
}

// started returns the storage of a peer that has had these starts.
func started(ids ...uint64) raft.Storage {
	return raft.Storage{ID: storageNumber(1), Starts: raft.Starts{Count: uint64(len(ids)), IDs: ids}}
}

// The start of a peer is on the disk when Admit returns, and an older copy is refused also after a
// power cut.
func TestOlderCopyIsRefusedAfterAPowerCut(t *testing.T) {
	disk := vfs.NewMem()
	p := peerDir(t, disk).Peers
	mustSucceed(t, p.Admit(8, started(1)))
	mustSucceed(t, p.Admit(8, started(1, 2, 3)))
	for _, p := range []*PeerStorage{p, peerDir(t, disk.CrashClone(vfs.LoseUnsynced)).Peers} {
		for what, copied := range map[string]raft.Storage{
			"lower": started(1, 12), "equal": started(1, 12, 13), "started often": started(1, 12, 13, 14, 15), "unknown": started(),
		} {
			err := p.Admit(8, copied)
			mismatch := IsStorageMismatch(err)
			if mismatch == nil {
				t.Fatalf("%s: %v", what, err)
			}
			m, present := mismatch.Refusal(), copied.Starts.Present()
			if m.Start != present.Number || m.StartId != present.ID || !bytes.Equal(m.StorageId, copied.ID) {
				t.Errorf("%s: %v", what, m)
			}
			for _, word := range []string{"member 0x8", "member 0x7", "older copy", "no member refuses", "stop all processes", "--initial-cluster-state=rejoin", "troupe member rejoin"} {
				if !strings.Contains(m.Reason, word) {
					t.Errorf("%s: %q does not contain %q", what, m.Reason, word)
				}
			}
		}
		mustSucceed(t, p.Admit(8, started(1, 2, 3)))
		mustSucceed(t, p.Admit(8, started(1, 2, 3, 4, 5)))
	}
}

// peers.json is written once for each start of a peer, however often it connects.
func TestStartOfAPeerIsStoredOnce(t *testing.T) {
	disk := vfs.NewMem()
	p := peerDir(t, disk).Peers
	writes := 0
	disk.Inject(func(op vfs.Op) error {
		if op.Kind == vfs.OpCreate && strings.Contains(op.Path, PeersFile) {
			writes++
		}
		return nil
	})
	for range 10 {
		mustSucceed(t, p.Admit(8, started(1)))
	}
	for range 10 {
		mustSucceed(t, p.Admit(8, started(1, 2)))
	}
	if writes != 2 {
		t.Errorf("%d writes for two starts", writes)
	}
}

// The starts of a directory that a member has no more are not kept.
func TestStartsOfReplacedDirectoriesAreDropped(t *testing.T) {
	disk := vfs.NewMem()
	p := peerDir(t, disk).Peers
	for i := byte(1); i <= 5; i++ {
		p.SetConfiguration(named(uint64(i), i > 1, 8, storageNumber(i)))
		p.Confirm(uint64(i))
		mustSucceed(t, p.Admit(8, raft.Storage{ID: storageNumber(i), Starts: raft.Starts{Count: 3, IDs: []uint64{3}}}))
	}
	if len(p.met) != 2 { // that of the first contact, and the present one
		t.Errorf("%d starts are stored: %v", len(p.met), p.met)
	}
	if _, err := disk.Open("/data/" + PeersFile); errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// directory returns the storage of a peer on a directory that has had these starts; the
// configuration at confirmed names it, if not 0.
func directory(number byte, confirmed uint64, ids ...uint64) raft.Storage {
	return raft.Storage{ID: storageNumber(number), ConfirmedIndex: confirmed, Starts: raft.Starts{Count: uint64(len(ids)), IDs: ids}}
}

// Member 8 has rejoined, and is admitted by the committed configuration that it names, or by one
// that is truncated for a while. A start of another peer, or one of this member, does not make its
// start forgotten.
func TestStartOfARejoinedPeerIsKept(t *testing.T) {
	both := func(second byte, rejoined bool) *messages.Configuration {
		return &messages.Configuration{Members: []*messages.Member{
			{Id: 7}, {Id: 8, StorageId: storageNumber(second), Rejoined: rejoined}, {Id: 9, StorageId: storageNumber(9)},
		}}
	}
	for what, c := range map[string]struct {
		admitted  raft.Storage
		recorded  uint64 // an uncommitted configuration that names the new directory; 0: none
		truncated bool
	}{
		"the log lacks the configuration":     {directory(2, 5, 21, 22, 23), 0, false},
		"the configuration was truncated":     {directory(2, 0, 21, 22, 23), 4, true},
		"the configuration was not committed": {directory(2, 0, 21, 22, 23), 4, false},
	} {
		disk := vfs.NewMem()
		p := peerDir(t, disk).Peers
		mustSucceed(t, p.Admit(8, directory(1, 0, 1)))
		mustSucceed(t, p.Admit(9, directory(9, 0, 9)))
		p.SetConfiguration(1, both(1, false))
		p.Confirm(1)
		if c.recorded != 0 {
			p.SetConfiguration(c.recorded, both(2, true))
		}
		mustSucceed(t, p.Admit(8, c.admitted))
		if c.truncated {
			p.SetConfiguration(1, both(1, false))
		}
		mustSucceed(t, p.Admit(9, directory(9, 0, 9, 10)))
		p = peerDir(t, disk.CrashClone(vfs.LoseUnsynced)).Peers
		p.SetConfiguration(3, both(1, false))
		p.Confirm(3)
		mustSucceed(t, p.Admit(9, directory(9, 0, 9, 10, 11)))
		p.SetConfiguration(5, both(2, true))
		if err := p.Admit(8, directory(2, 5, 21, 32)); IsStorageMismatch(err) == nil {
			t.Errorf("%s: an older copy of the directory is admitted: %v", what, err)
		}
		mustSucceed(t, p.Admit(8, directory(2, 5, 21, 22, 23, 24)))
	}
}

// An uncommitted configuration that names another directory of a peer may be truncated.
func TestStartIsKeptUntilTheConfigurationIsCommitted(t *testing.T) {
	p := peerDir(t, vfs.NewMem()).Peers
	mustSucceed(t, p.Admit(8, directory(1, 0, 1)))
	p.SetConfiguration(named(5, true, 8, storageNumber(2)))
	p.Confirm(5)
	mustSucceed(t, p.Admit(8, directory(2, 5, 21, 22)))
	p.SetConfiguration(named(6, true, 8, storageNumber(3)))
	mustSucceed(t, p.Admit(8, directory(3, 0, 31)))
	p.SetConfiguration(named(5, true, 8, storageNumber(2))) // the other was truncated
	if IsStorageMismatch(p.Admit(8, directory(2, 5, 21, 32))) == nil {
		t.Error("an older copy is admitted")
	}
}

// A start that was met before a later configuration named its directory is kept up to that one.
func TestMetStartFollowsTheConfirmedIndex(t *testing.T) {
	disk := vfs.NewMem()
	p := peerDir(t, disk).Peers
	mustSucceed(t, p.Admit(8, directory(1, 0, 1)))
	p.SetConfiguration(named(1, false, 8, storageNumber(1)))
	p.Confirm(1)
	mustSucceed(t, p.Admit(8, directory(2, 5, 21)))
	mustSucceed(t, p.Admit(8, directory(2, 9, 21)))
	if p.met[string(storageNumber(2))].index != 9 {
		t.Errorf("%v", p.met)
	}
}

// A lagging member that meets many directories of a peer keeps the starts of the last ones.
func TestStartsOfUnnamedDirectoriesAreBounded(t *testing.T) {
	p := peerDir(t, vfs.NewMem()).Peers
	mustSucceed(t, p.Admit(8, directory(1, 0, 1)))
	p.SetConfiguration(named(1, false, 8, storageNumber(1)))
	p.Confirm(1)
	for number := byte(2); number < 3*maxMetUnnamed; number++ {
		mustSucceed(t, p.Admit(8, directory(number, uint64(number), 1)))
	}
	if last := storageNumber(3*maxMetUnnamed - 1); len(p.met) > maxMetUnnamed+2 || p.met[string(last)].Number == 0 {
		t.Errorf("%d starts are stored", len(p.met))
	}
}

// A file of format 1, with or without starts, is read. A file with starts has format 2, so that a
// program that does not check starts refuses it by its format.
func TestPeersFileFormats(t *testing.T) {
	owner := Identity{NodeID: 7, StorageID: testStorage}
	pinned, met := map[uint64]string{8: string(storageNumber(1))}, map[string]metStart{string(storageNumber(1)): {raft.Start{Number: 2, ID: 5}, 3}}
	for what, c := range map[string]struct {
		met     map[string]metStart
		version string
	}{"without starts": {nil, `"formatVersion": 1`}, "with starts": {met, `"formatVersion": 2`}} {
		b, err := encodePeers(owner, pinned, c.met)
		mustSucceed(t, err)
		gotPinned, gotMet, err := decodePeers("f", b, owner)
		mustSucceed(t, err)
		if !bytes.Contains(b, []byte(c.version)) || !maps.Equal(gotPinned, pinned) || !maps.Equal(gotMet, c.met) {
			t.Errorf("%s: %s", what, b)
		}
	}
	former := peersJSON{
		FormatVersion: 1, NodeID: "0000000000000007", StorageID: hex.EncodeToString(testStorage[:]),
		Peers:  map[string]string{"0000000000000008": hex.EncodeToString(storageNumber(1))},
		Starts: map[string]startJSON{hex.EncodeToString(storageNumber(1)): {Number: 2, ID: "0000000000000005"}},
	}
	former.Checksum = former.computeChecksum()
	b, err := json.Marshal(former)
	mustSucceed(t, err)
	if _, got, err := decodePeers("f", b, owner); err != nil || got[string(storageNumber(1))].Start != (raft.Start{Number: 2, ID: 5}) {
		t.Errorf("format 1 with starts: %v, %v", got, err)
	}
}
