package persistence

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"sync"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence/vfs"
	"github.com/troupe-raft/troupe/raft"
)

// PeersFile is the file that holds the storage ids of a member's peers.
const PeersFile = "peers.json"

// PeerStorage decides with which data directories of its peers a member exchanges messages (E37;
// docs/protocol.md P99 to P101).
//
// A data directory has a random storage id. A member that comes back with another one has lost its
// vote and the entries that it acknowledged; if it voted and acknowledged again, a committed entry
// could be lost. So a peer is admitted with one storage id only:
//
//   - with the one in the configuration in effect, if that names one;
//   - else with the one that the peer had when the two first met. It is pinned: on the disk, in
//     peers.json, before Admit returns, and so before any message of the peer counts.
//
// A storage id that a configuration was first to name is pinned too, since a crash may take away
// the end of the log. One that replaced another (Member.rejoined) is not: if its entry is
// truncated, the former one holds again.
//
// The log of a member may lag behind a configuration with a peer's new storage id, and the peer may
// be the leader that has it. So a peer is also admitted if it names a committed configuration,
// after the one that this member knows it by, in which its storage id stands (raft.Storage). Only a
// data directory that has rejoined can name one; an emptied one cannot.
//
// A peer that says that it rejoins is never pinned: it is admitted once the configuration names its
// storage id. Until then PeerStorage remembers it as an applicant, in memory.
//
// A peer with the right storage id may run on an older copy of its directory. So the last start of
// the directory that this member met is stored too, before Admit returns, and a peer whose starts
// do not include that one is refused (raft.Starts).
//
// All links and the simulator call Admit for each connection, and before they deliver anything from
// it. All methods may be called by several goroutines; only Admit waits for the disk, and only at
// the first contact with a start of a peer.
type PeerStorage struct {
	fs    vfs.FS
	dir   string
	owner Identity

	writing sync.Mutex // held while the file is written; taken before mu

	own raft.Starts // of the owner

	mu sync.Mutex
	// pinned are the storage ids of first contacts, as on disk; guarded by mu.
	pinned map[uint64]string
	// met are the last starts that this member met, by storage id, as on disk; guarded by mu.
	met map[string]metStart
	// configured are those of the configuration in effect; guarded by mu.
	configured      map[uint64]string
	rejoined        map[uint64]bool   // whose configured one replaced another; guarded by mu
	configuredIndex uint64            // the index of its entry; guarded by mu
	applicants      map[uint64]string // that asked to rejoin, by member; guarded by mu
	failed          error             // the first write that failed; guarded by mu
	confirmed       uint64            // Own().ConfirmedIndex; guarded by mu
}

// metStart is the last start of a data directory that a member met.
type metStart struct {
	raft.Start
	// index is that of the last configuration known to name the directory, from the configuration in
	// effect or by the peer's word (P101); 0: none. A committed one at or after it that does not name
	// the directory shows that it was replaced.
	index uint64
}

// maxMetUnnamed bounds the starts of data directories that are neither pinned nor named by the
// configuration in effect.
const maxMetUnnamed = 64

// StorageMismatchError reports that a peer is not admitted: which member came with which data
// directory, and what to do.
type StorageMismatchError struct {
	Peer uint64 // the member that is refused
	Self uint64 // the member that refuses it
	// Found is the storage id that the peer came with, Known the one that it should have; Known is
	// empty for a peer that rejoins and was never met.
	Found, Known []byte
	// ConfigurationIndex is the index of the configuration that names Known; 0: the first contact.
	ConfigurationIndex uint64
	// Rejoining: the peer waits to be recorded, as it should.
	Rejoining bool
	// SharedWith is the member that has the same storage id; 0: none.
	SharedWith uint64
	// Rejoined: the configuration names Known because the member rejoined with it.
	Rejoined bool
	// MetStart is the start that Self has met, if the peer is refused because that is none of its own
	// starts, of which Start is the present one; else 0.
	Start, MetStart raft.Start
}

func (e *StorageMismatchError) Error() string {
	switch {
	case e.MetStart.Number != 0:
		return fmt.Sprintf("member %#x runs on an older copy of its data directory, or on one of two copies: this is start %d of the directory, "+
			"and member %#x has met a start %d of it that this copy does not know, so it may lack votes and entries that it acknowledged; %s",
			e.Peer, e.Start.Number, e.Self, e.MetStart.Number, e.advice())
	case e.SharedWith != 0:
		return fmt.Sprintf("member %#x has storage id %x, which is that of member %#x: one data directory was copied from the other; %s",
			e.Peer, e.Found, e.SharedWith, e.advice())
	case e.Rejoining:
		return fmt.Sprintf("member %#x asks to rejoin with storage id %x: run `troupe member rejoin %#x` with the endpoint of another running member",
			e.Peer, e.Found, e.Peer)
	case e.Rejoined:
		return fmt.Sprintf("member %#x has storage id %x, but it has rejoined with %x since: this data directory was replaced, "+
			"and may not be used again; %s", e.Peer, e.Found, e.Known, e.advice())
	}
	return fmt.Sprintf("member %#x has storage id %x, member %#x knows it with %x: its data directory was emptied, lost or replaced, "+
		"so it may have forgotten votes and entries that it acknowledged; %s", e.Peer, e.Found, e.Self, e.Known, e.advice())
}

// advice names the directory to start with by its storage id: the refused one may be the older or
// the newer of the two.
func (e *StorageMismatchError) advice() string {
	if e.MetStart.Number != 0 { // either of two directories may receive this
		return "if this is a copy, and no member refuses the directory that it was made of, start the member on that one; else, as after " +
			"two processes ran on copies, stop all processes of the member, move its directories away, start it with " +
			"--initial-cluster-state=rejoin, and run `troupe member rejoin` (docs/operations.md)"
	}
	usable := "the member's own data directory"
	if len(e.Known) > 0 {
		usable = fmt.Sprintf("the data directory with storage id %x (in its identity.json)", e.Known)
	}
	return fmt.Sprintf("if %s still exists, start the member on it; else move the present one away, start the member with "+
		"--initial-cluster-state=rejoin, and run `troupe member rejoin` (docs/operations.md)", usable)
}

// PinError reports that the storage id or the start of a peer could not be stored. The node must
// stop.
type PinError struct {
	Peer uint64
	Err  error
}

func (e *PinError) Error() string {
	return fmt.Sprintf("store the storage id and start of member %#x: %v", e.Peer, e.Err)
}
func (e *PinError) Unwrap() error { return e.Err }

// openPeerStorage reads peers.json. A directory without it has met no peer.
func openPeerStorage(filesystem vfs.FS, dir string, owner Identity, own raft.Starts) (*PeerStorage, error) {
	p := &PeerStorage{
		fs: filesystem, dir: dir, owner: owner, own: own, met: map[string]metStart{},
		pinned: map[uint64]string{}, configured: map[uint64]string{}, rejoined: map[uint64]bool{}, applicants: map[uint64]string{},
	}
	path := filepath.Join(dir, PeersFile)
	b, err := readSmallFile(filesystem, path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return p, nil
	case err != nil:
		return nil, err
	}
	p.pinned, p.met, err = decodePeers(path, b, owner)
	return p, err
}

// SetConfiguration replaces the configuration in effect, with the index of its entry.
func (p *PeerStorage) SetConfiguration(index uint64, c *messages.Configuration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.configured)
	clear(p.rejoined)
	p.configuredIndex = index
	for _, m := range c.GetMembers() {
		if len(m.GetStorageId()) > 0 {
			p.configured[m.GetId()], p.rejoined[m.GetId()] = string(m.GetStorageId()), m.GetRejoined()
		}
		if p.applicants[m.GetId()] == string(m.GetStorageId()) {
			delete(p.applicants, m.GetId())
		}
	}
}

// Confirm notes that the committed configuration at index names the owner's data directory.
func (p *PeerStorage) Confirm(index uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.confirmed = index
}

// Own returns the owner's data directory, as a link names it to peers.
func (p *PeerStorage) Own() raft.Storage {
	p.mu.Lock()
	defer p.mu.Unlock()
	return raft.Storage{
		ID: p.owner.StorageID[:], Rejoining: p.owner.Rejoining && p.confirmed == 0, ConfirmedIndex: p.confirmed, Starts: p.own,
	}
}

// Known returns the storage id with which a peer is admitted; nil if they have not met.
func (p *PeerStorage) Known(peer uint64) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	known, _ := p.known(peer)
	return []byte(known)
}

// Pinned reports whether the storage id of a peer is on this member's disk.
func (p *PeerStorage) Pinned(peer uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pinned[peer] != ""
}

// Applicant returns the storage id with which a member asked to rejoin last; nil if it did not.
func (p *PeerStorage) Applicant(member uint64) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return []byte(p.applicants[member])
}

// known returns the storage id of a peer, and the index of the configuration that names it. The
// caller holds mu.
func (p *PeerStorage) known(peer uint64) (id string, configurationIndex uint64) {
	if id := p.configured[peer]; id != "" {
		return id, p.configuredIndex
	}
	return p.pinned[peer], 0
}

// Admit returns nil if messages of a peer with this storage id and start count. It pins the storage
// id at the first contact, and stores each start. It returns a *StorageMismatchError for another
// storage id or an older copy, and a *PinError if that cannot be stored; after the first write that
// failed it returns that for every peer.
func (p *PeerStorage) Admit(peer uint64, storage raft.Storage) error {
	if write, _, err := p.check(peer, storage); !write || err != nil {
		return err
	}
	p.writing.Lock()
	defer p.writing.Unlock()
	write, pin, err := p.check(peer, storage)
	if !write || err != nil {
		return err // another connection of the peer was first
	}
	pinned, met := p.withContact(peer, storage, pin)
	b, err := encodePeers(p.owner, pinned, met)
	if err == nil {
		err = replaceFile(p.fs, p.dir, PeersFile, b)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.failed = &PinError{Peer: peer, Err: err}
		return p.failed
	}
	p.pinned, p.met = pinned, met
	return nil
}

// check returns an error if the peer is not admitted. It reports whether something must be stored
// first, and whether its storage id must be pinned.
func (p *PeerStorage) check(peer uint64, storage raft.Storage) (write, pin bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failed != nil {
		return false, false, p.failed
	}
	if pin, err = p.decide(peer, storage); err != nil {
		return false, false, err
	}
	met, present := p.met[string(storage.ID)], storage.Starts.Present()
	if !storage.Starts.Include(met.Start) {
		return false, false, &StorageMismatchError{
			Peer: peer, Self: p.owner.NodeID, Found: bytes.Clone(storage.ID), Known: bytes.Clone(storage.ID), Start: present, MetStart: met.Start,
		}
	}
	lagging := p.pinned[peer] != string(storage.ID) && p.configured[peer] != string(storage.ID)
	return pin || met.Start != present || lagging && present.Number != 0 && met.index < storage.ConfirmedIndex, pin, nil
}

// withContact returns what is to be stored when a peer is admitted.
func (p *PeerStorage) withContact(peer uint64, storage raft.Storage, pin bool) (pinned map[uint64]string, met map[string]metStart) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pinned, met = maps.Clone(p.pinned), maps.Clone(p.met)
	if pin {
		pinned[peer] = string(storage.ID)
	}
	if storage.Starts.Count != 0 {
		index := max(met[string(storage.ID)].index, storage.ConfirmedIndex)
		if p.configured[peer] == string(storage.ID) {
			index = max(index, p.configuredIndex)
		}
		met[string(storage.ID)] = metStart{storage.Starts.Present(), index}
	}
	p.dropReplaced(string(storage.ID), pinned, met)
	return pinned, met
}

// dropReplaced removes the starts of data directories that were replaced: a committed configuration
// at or after the last one that named them does not name them. Until then a directory may be
// admitted again, after its configuration reached this member's log, or was truncated for a while.
// The caller holds mu.
func (p *PeerStorage) dropReplaced(present string, pinned map[uint64]string, met map[string]metStart) {
	needed := map[string]bool{present: true}
	for _, ids := range []map[uint64]string{pinned, p.configured} {
		for _, id := range ids { // order does not matter: it fills a set
			needed[id] = true
		}
	}
	committed := p.confirmed >= p.configuredIndex
	var unnamed []string
	for _, id := range slices.Sorted(maps.Keys(met)) {
		switch {
		case needed[id]:
		case committed && p.configuredIndex >= met[id].index:
			delete(met, id)
		default:
			unnamed = append(unnamed, id)
		}
	}
	slices.SortStableFunc(unnamed, func(a, b string) int { return cmp.Compare(met[a].index, met[b].index) })
	for _, id := range unnamed[:max(0, len(unnamed)-maxMetUnnamed)] {
		delete(met, id)
	}
}

// decide returns an error if the data directory of the peer is another one, and reports whether its
// storage id must be pinned. The caller holds mu.
func (p *PeerStorage) decide(peer uint64, storage raft.Storage) (pin bool, err error) {
	known, index := p.known(peer)
	if known == string(storage.ID) && known != "" {
		delete(p.applicants, peer) // it is back with the directory that it has promised with
		return p.pinned[peer] == "" && !p.rejoined[peer], nil
	}
	mismatch := &StorageMismatchError{
		Peer: peer, Self: p.owner.NodeID, Found: bytes.Clone(storage.ID), Known: []byte(known), ConfigurationIndex: index,
		SharedWith: p.ownerOf(string(storage.ID), peer), Rejoined: index > 0 && p.rejoined[peer],
	}
	switch {
	case mismatch.SharedWith != 0:
		return false, mismatch
	case storage.Rejoining:
		p.applicants[peer] = string(storage.ID)
		mismatch.Rejoining = true
		return false, mismatch
	case known != "" && storage.ConfirmedIndex > index:
		return false, nil // this member's log lacks the configuration that names it
	case known != "" || len(storage.ID) == 0:
		return false, mismatch
	}
	return true, nil
}

// ownerOf returns which other member has this storage id; 0: none. The caller holds mu.
func (p *PeerStorage) ownerOf(storageID string, except uint64) uint64 {
	if storageID == string(p.owner.StorageID[:]) {
		return p.owner.NodeID
	}
	for _, ids := range []map[uint64]string{p.configured, p.pinned} {
		for _, id := range slices.Sorted(maps.Keys(ids)) {
			if known, _ := p.known(id); id != except && known == storageID {
				return id
			}
		}
	}
	return 0
}

// IsStorageMismatch returns the mismatch in err, nil if there is none.
func IsStorageMismatch(err error) *StorageMismatchError {
	var mismatch *StorageMismatchError
	errors.As(err, &mismatch)
	return mismatch
}

// Refusal returns the message that notifies the refused member.
func (e *StorageMismatchError) Refusal() *messages.StorageRefused {
	return &messages.StorageRefused{
		From: e.Self, StorageId: e.Found, Known: e.Known, ConfigurationIndex: e.ConfigurationIndex,
		Start: e.Start.Number, StartId: e.Start.ID, Reason: e.Error(),
	}
}
