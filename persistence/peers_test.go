package persistence

import (
	"bytes"
	"errors"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence/vfs"
	"github.com/troupe-raft/troupe/raft"
)

func storageNumber(number byte) []byte { return bytes.Repeat([]byte{number}, 16) }

func peerDir(t *testing.T, disk vfs.FS) *DataDir {
	t.Helper()
	d, err := OpenDataDir(disk, "/data", Identity{ClusterID: 0xc1, NodeID: 7, StorageID: testStorage, CreatedBy: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func named(index uint64, rejoined bool, id uint64, storage []byte) (uint64, *messages.Configuration) {
	return index, &messages.Configuration{Members: []*messages.Member{{Id: 7}, {Id: id, StorageId: storage, Rejoined: rejoined}}}
}

// The storage id of a first contact is on the disk when Admit returns.
func TestFirstContactIsPinnedDurably(t *testing.T) {
	disk := vfs.NewMem()
	d := peerDir(t, disk)
	if err := d.Peers.Admit(8, raft.Storage{ID: storageNumber(1)}); err != nil {
		t.Fatal(err)
	}
	after := peerDir(t, disk.CrashClone(vfs.LoseUnsynced))
	for _, p := range []*PeerStorage{d.Peers, after.Peers} {
		var mismatch *StorageMismatchError
		if err := p.Admit(8, raft.Storage{ID: storageNumber(2)}); !errors.As(err, &mismatch) {
			t.Fatalf("another data directory: %v", err)
		}
		for _, word := range []string{"member 0x8", "member 0x7", "0101", "0202", "--initial-cluster-state=rejoin", "troupe member rejoin"} {
			if !strings.Contains(mismatch.Error(), word) {
				t.Errorf("%q does not contain %q", mismatch, word)
			}
		}
		if err := p.Admit(8, raft.Storage{ID: storageNumber(1)}); err != nil {
			t.Errorf("the same data directory: %v", err)
		}
	}
}

// The refused directory may be the older or the newer one: the advice names the one that may be
// used.
func TestRefusalNamesTheDirectoryToUse(t *testing.T) {
	first, second := storageNumber(1), storageNumber(2)
	for what, c := range map[string]struct {
		refuse func(*PeerStorage) error
		words  []string
	}{
		"emptied": {func(p *PeerStorage) error {
			mustSucceed(t, p.Admit(8, raft.Storage{ID: first}))
			return p.Admit(8, raft.Storage{ID: second})
		}, []string{"emptied, lost or replaced", "if the data directory with storage id 0101"}},
		"replaced by a rejoin": {func(p *PeerStorage) error {
			mustSucceed(t, p.Admit(8, raft.Storage{ID: first}))
			p.SetConfiguration(named(5, true, 8, second))
			return p.Admit(8, raft.Storage{ID: first})
		}, []string{"it has rejoined with 0202", "may not be used again", "if the data directory with storage id 0202"}},
		"copied from a member that was never met": {func(p *PeerStorage) error {
			return p.Admit(8, raft.Storage{ID: testStorage[:]})
		}, []string{"one data directory was copied from the other", "if the member's own data directory"}},
	} {
		err := IsStorageMismatch(c.refuse(peerDir(t, vfs.NewMem()).Peers))
		if err == nil {
			t.Fatalf("%s: admitted", what)
		}
		for _, word := range append(c.words, "still exists, start the member on it", "else move the present one away") {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%s: %q does not contain %q", what, err, word)
			}
		}
	}
}

// A request to rejoin ends when the member is back on its own directory: granting it would expel a
// member that lost nothing.
func TestReturnEndsTheRequestToRejoin(t *testing.T) {
	own, empty := raft.Storage{ID: storageNumber(1)}, raft.Storage{ID: storageNumber(2), Rejoining: true}
	p := peerDir(t, vfs.NewMem()).Peers
	mustSucceed(t, p.Admit(8, own))
	err := p.Admit(8, empty)
	if IsStorageMismatch(err) == nil || len(p.Applicant(8)) == 0 {
		t.Fatalf("%v, applicant %x", err, p.Applicant(8))
	}
	if want := "`troupe member rejoin 0x8` with the endpoint of another running member"; !strings.Contains(err.Error(), want) {
		t.Errorf("%q does not contain %q: the waiting member knows no leader", err, want)
	}
	mustSucceed(t, p.Admit(8, own))
	if got := p.Applicant(8); len(got) > 0 {
		t.Errorf("%x still asks to rejoin", got)
	}
}

func TestPeersAreAdmittedByRule(t *testing.T) {
	pinned, other := storageNumber(1), storageNumber(2)
	for what, c := range map[string]struct {
		pin       []byte
		index     uint64 // of the configuration that names `named`; 0: none
		named     []byte
		rejoined  bool
		offered   raft.Storage
		admitted  bool
		applicant bool
	}{
		"unknown":                                {offered: raft.Storage{ID: other}, admitted: true},
		"without a storage id":                   {},
		"pinned":                                 {pin: pinned, offered: raft.Storage{ID: pinned}, admitted: true},
		"not the pinned one":                     {pin: pinned, offered: raft.Storage{ID: other}},
		"the one of the configuration":           {pin: pinned, index: 5, named: other, rejoined: true, offered: raft.Storage{ID: other}, admitted: true},
		"the pinned one after a rejoin":          {pin: pinned, index: 5, named: other, rejoined: true, offered: raft.Storage{ID: pinned}},
		"asks to rejoin, unknown":                {offered: raft.Storage{ID: other, Rejoining: true}, applicant: true},
		"asks to rejoin":                         {pin: pinned, offered: raft.Storage{ID: other, Rejoining: true}, applicant: true},
		"asks to rejoin, and is named":           {pin: pinned, index: 5, named: other, rejoined: true, offered: raft.Storage{ID: other, Rejoining: true}, admitted: true},
		"confirmed later than the pin":           {pin: pinned, offered: raft.Storage{ID: other, ConfirmedIndex: 9}, admitted: true},
		"confirmed later than the log has":       {index: 5, named: pinned, offered: raft.Storage{ID: other, ConfirmedIndex: 9}, admitted: true},
		"confirmed earlier than the log has":     {index: 12, named: pinned, rejoined: true, offered: raft.Storage{ID: other, ConfirmedIndex: 9}},
		"the own storage id":                     {offered: raft.Storage{ID: testStorage[:]}},
		"the own storage id, asks to rejoin":     {offered: raft.Storage{ID: testStorage[:], Rejoining: true}},
		"the storage id that another member has": {offered: raft.Storage{ID: storageNumber(9)}},
	} {
		t.Run(what, func(t *testing.T) {
			p := peerDir(t, vfs.NewMem()).Peers
			if err := p.Admit(9, raft.Storage{ID: storageNumber(9)}); err != nil {
				t.Fatal(err)
			}
			if c.pin != nil {
				if err := p.Admit(8, raft.Storage{ID: c.pin}); err != nil {
					t.Fatal(err)
				}
			}
			if c.index != 0 {
				p.SetConfiguration(named(c.index, c.rejoined, 8, c.named))
			}
			err := p.Admit(8, c.offered)
			if (err == nil) != c.admitted || err != nil && IsStorageMismatch(err) == nil {
				t.Errorf("admitted: %v", err)
			}
			if got := p.Applicant(8); (len(got) > 0) != c.applicant {
				t.Errorf("the applicant is %x", got)
			}
		})
	}
}

// A storage id that a configuration was first to name stays known if a crash takes the entry away;
// one that replaced another does not.
func TestConfiguredStorageIsPinnedUnlessReplaced(t *testing.T) {
	for _, rejoined := range []bool{false, true} {
		disk := vfs.NewMem()
		p := peerDir(t, disk).Peers
		p.SetConfiguration(named(5, rejoined, 8, storageNumber(1)))
		if err := p.Admit(8, raft.Storage{ID: storageNumber(1)}); err != nil {
			t.Fatal(err)
		}
		after := peerDir(t, disk.CrashClone(vfs.LoseUnsynced)).Peers
		if after.Pinned(8) == rejoined {
			t.Errorf("rejoined %v: pinned %v", rejoined, after.Pinned(8))
		}
	}
}

// After the first write that fails nobody is admitted, and the node stops.
func TestFailedPinAdmitsNobody(t *testing.T) {
	disk := vfs.NewMem()
	p := peerDir(t, disk).Peers
	fail := true
	disk.Inject(func(op vfs.Op) error {
		if fail && op.Kind == vfs.OpSync && strings.Contains(op.Path, PeersFile) {
			return syscall.EIO
		}
		return nil
	})
	var failed *PinError
	if err := p.Admit(8, raft.Storage{ID: storageNumber(1)}); !errors.As(err, &failed) || !errors.Is(err, syscall.EIO) {
		t.Fatalf("the sync failed: %v", err)
	}
	fail = false
	if err := p.Admit(9, raft.Storage{ID: storageNumber(2)}); !errors.As(err, &failed) {
		t.Fatalf("after a write that failed: %v", err)
	}
	if after := peerDir(t, disk.CrashClone(vfs.LoseUnsynced)).Peers; after.Pinned(8) || after.Pinned(9) {
		t.Error("a storage id is on the disk that was not admitted")
	}
}

func TestDamagedPeersFileIsRefused(t *testing.T) {
	write := func(disk *vfs.MemFS, b []byte) {
		if err := replaceFile(disk, "/data", PeersFile, b); err != nil {
			t.Fatal(err)
		}
	}
	disk := vfs.NewMem()
	d := peerDir(t, disk)
	if err := d.Peers.Admit(8, raft.Storage{ID: storageNumber(1)}); err != nil {
		t.Fatal(err)
	}
	good, err := readSmallFile(disk, "/data/"+PeersFile)
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
	another, err := encodePeers(Identity{NodeID: 7, StorageID: [16]byte{5}}, map[uint64]string{8: "x"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		contents []byte
		want     error
	}{
		"a changed storage id":      {bytes.Replace(good, []byte("0101"), []byte("0102"), 1), ErrCorrupt},
		"a changed member":          {bytes.Replace(good, []byte("0000008\""), []byte("0000009\""), 1), ErrCorrupt},
		"no JSON":                   {good[:20], ErrCorrupt},
		"another format":            {bytes.Replace(good, []byte("Version\": 1"), []byte("Version\": 3"), 1), ErrFormat},
		"of another data directory": {another, ErrWrongMember},
		"empty":                     {nil, ErrCorrupt},
		"as it was":                 {good, nil},
	} {
		t.Run(what, func(t *testing.T) {
			write(disk, c.contents)
			d, err := OpenDataDir(disk, "/data", Identity{ClusterID: 0xc1, NodeID: 7})
			if !errors.Is(err, c.want) {
				t.Fatalf("%v, want %v", err, c.want)
			}
			if err == nil {
				d.Close()
			}
		})
	}
}

func TestRejoiningIsPartOfTheIdentity(t *testing.T) {
	disk, want := vfs.NewMem(), Identity{ClusterID: 0xc1, NodeID: 7, StorageID: testStorage, Rejoining: true}
	for range 2 { // created, then read
		d, err := OpenDataDir(disk, "/data", want)
		if err != nil || !d.Identity.Rejoining || !d.Peers.Own().Rejoining {
			t.Fatalf("%+v, %v", d, err)
		}
		d.Peers.Confirm(5)
		if own := d.Peers.Own(); own.Rejoining || own.ConfirmedIndex != 5 {
			t.Fatalf("confirmed: %+v", own)
		}
		d.Close()
		want.Rejoining = false
	}
	b, _ := encodeIdentity(Identity{StorageID: testStorage, Rejoining: true})
	if _, err := decodeIdentity("x", bytes.Replace(b, []byte("\"rejoining\": true,"), nil, 1)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("rejoining was removed: %v", err)
	}
	whole := vfs.NewMem()
	peerDir(t, whole).Close()
	if _, err := OpenDataDir(whole, "/data", Identity{ClusterID: 0xc1, NodeID: 7, Rejoining: true}); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("rejoin on a directory that holds data: %v", err)
	}
	if _, err := whole.Open("/data/" + PeersFile); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory that has met no peer has %s: %v", PeersFile, err)
	}
}
