package world

import (
	"bytes"
	"errors"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/internal/sim/fault"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence"
	"github.com/troupe-raft/troupe/persistence/vfs"
	"github.com/troupe-raft/troupe/raft"
)

// Members that return with another data directory (E37). The network admits a message as a link
// does: both ends check the data directory of the other (persistence.PeerStorage), and the one that
// refuses notifies the other.

// EmptyDisk takes away all that a member had, while it is down; its machine goes on with an empty
// disk. rejoins: an operator starts it so that it rejoins, and asks the leader for it. Otherwise it
// starts as a member of a new cluster does, which its peers must not allow.
func (m *Member) EmptyDisk(rejoins bool) {
	m.replaceDisk()
	m.refused, m.Disk.Damaged, m.relearns, m.identity = false, false, true, persistence.Identity{}
	m.restored, m.olderCopy = false, nil
	m.world.Checker.DiskReplaced(m.id)
	m.Rejoins = rejoins
	if rejoins && !m.rejoinWatched {
		m.rejoinWatched = true
		m.world.After(rejoinInterval, m.requestRejoin)
	}
}

// RestoreCopy stops a member and replaces its disk by an older copy of it.
func (m *Member) RestoreCopy(older *vfs.MemFS) {
	m.KillProcess()
	m.Disk.Attach(older)
	if m.MachineDisk != nil {
		m.ResetStateMachine()
	}
	m.world.Checker.DiskReplaced(m.id)
	m.Disk.Damaged = true // it may hold less than was synced
}

// copyDisk makes a copy of the disk at a start, at times, where the profile restores copies.
func (m *Member) copyDisk() {
	if slices.Contains(m.world.Options.Profile.Faults, fault.RestoredDisk) && (m.olderCopy == nil || m.world.Chance(0.3)) {
		m.olderCopy, m.copiedStart = m.Disk.CrashClone(vfs.KeepUnsynced), m.node.Peers().Own().Starts.Present()
	}
}

// olderCopyIsKnown reports whether all others would recognise the copy of a member's disk.
func (m *Member) olderCopyIsKnown() bool {
	if m.olderCopy == nil || m.node.Peers().Own().Starts.Present() == m.copiedStart {
		return false
	}
	return !slices.ContainsFunc(m.world.Members, func(other *Member) bool { return other != m && !other.Met(m) })
}

// ForgetPeers removes what the disk of a member, which is down, holds about its peers.
func (m *Member) ForgetPeers() {
	m.Disk.WithoutFaults(func() {
		if err := m.Disk.Remove(DataDir + "/" + persistence.PeersFile); err != nil {
			m.world.Fail("simulated disk", "%v", err)
		}
	})
}

// noteRejoined notes that the disk of a member holds a commit index, and so whether the member
// would vote again after a crash.
func (m *Member) noteRejoined(commit uint64) {
	named := raft.FindMember(m.View.Configuration, m.id).GetStorageId()
	if m.relearns && bytes.Equal(named, m.identity.StorageID[:]) && commit >= m.View.ConfigurationIndex {
		m.relearns = false
	}
}

// rejoinInterval is how often an operator asks for a member that rejoins.
const rejoinInterval = 200 * time.Millisecond

// requestRejoin asks the leader to record the data directory with which a member asks to rejoin.
func (m *Member) requestRejoin() {
	w := m.world
	if !m.Rejoins || !w.Checker.Forgot(m.id) {
		m.rejoinWatched = false
		return
	}
	if l := w.Leader(); l != nil {
		l.RequestRejoin(m)
	}
	w.After(rejoinInterval, m.requestRejoin)
}

// RequestRejoin asks this member to record the data directory of another one that asked to rejoin.
func (m *Member) RequestRejoin(other *Member) {
	if storageID := m.parts.Peers.Applicant(other.id); len(storageID) > 0 {
		m.Post(actors.NodePath, &messages.Rejoin{Member: other.id, StorageId: storageID})
	}
}

// Knows reports whether a member would still refuse another data directory of a peer after a power
// cut.
func (m *Member) Knows(peer *Member) bool {
	if !m.up || !m.peersKnown || len(m.parts.Peers.Known(peer.id)) == 0 {
		return false
	}
	named := raft.FindMember(m.View.Configuration, peer.id)
	return m.parts.Peers.Pinned(peer.id) || len(named.GetStorageId()) > 0 && m.View.DurableIndex >= m.View.ConfigurationIndex
}

// Met reports whether a member would still know the present start of a peer after a power cut.
func (m *Member) Met(peer *Member) bool {
	return m.up && peer.up && m.met[peer.parts.Peers.Own().Starts.Present()]
}

// mayForget reports whether the disk of a member may be emptied: all others know it, and those that
// may have forgotten something are a minority.
func (w *World) mayForget(m *Member) bool {
	for _, other := range w.Members {
		if other != m && (!other.Knows(m) || other.restored) {
			return false // one that is emptied would forget the starts of the restored one
		}
	}
	return w.Size > 1 && !m.Disk.Damaged && !m.relearns && w.withinBudget(m)
}

// StorageID implements actors.Env.
func (m *Member) StorageID(peer uint64) []byte {
	if m.world.UnrecordedStorage {
		return nil
	}
	return m.parts.Peers.Known(peer)
}

// contact is a connection over which a message is sent: the runs of both ends.
type contact struct {
	from, to *Member
	run      int // of the sender
	storage  raft.Storage
	peers    *persistence.PeerStorage // of the sender
}

func newContact(from, to *Member) contact {
	return contact{from: from, to: to, run: from.RunNumber, storage: from.parts.Peers.Own(), peers: from.parts.Peers}
}

// connectDelay is how long a connection takes.
const connectDelay = time.Millisecond

// connectSoon has two members connect, as links do before there is a message to send.
func (w *World) connectSoon(a, b *Member) {
	if a == b {
		return
	}
	w.After(connectDelay, func() {
		for _, end := range []struct{ at, of *Member }{{a, b}, {b, a}} {
			if w.Connected(a, b) && a.peersKnown && b.peersKnown {
				end.at.admit(end.of, end.of.parts.Peers.Own())
			}
		}
	})
}

// admitted reports whether both ends of a connection admit the data directory of the other.
func (w *World) admitted(c contact) bool {
	if !c.to.peersKnown {
		return true // its node is recovering, and drops the message
	}
	if known := c.peers.Known(c.to.id); len(known) > 0 && !bytes.Equal(known, c.to.identity.StorageID[:]) && c.from.RunNumber != c.run {
		return false // sent over a connection to the former data directory
	}
	if start := c.storage.Starts.Present(); c.from.RunNumber != c.run && c.to.met[start] {
		// Sent before the sender's run ended, over a connection that was admitted then.
		return bytes.Equal(c.to.parts.Peers.Known(c.from.id), c.storage.ID)
	}
	if !c.to.admit(c.from, c.storage) {
		return false
	}
	return c.from.RunNumber != c.run || !c.to.up || c.from.admit(c.to, c.to.parts.Peers.Own())
}

// admit checks the data directory of a peer. A peer that is refused is notified; a member that
// cannot store it stops.
func (m *Member) admit(peer *Member, storage raft.Storage) bool {
	err := m.parts.Peers.Admit(peer.id, storage)
	if m.imageAfterCut != nil {
		m.finishPowerCut()
		return false
	}
	var failed *persistence.PinError
	if errors.As(err, &failed) {
		m.Post(actors.NodePath, &messages.PinFailed{Peer: peer.id, Reason: failed.Err.Error()})
	}
	if mismatch := persistence.IsStorageMismatch(err); mismatch != nil {
		m.world.Counts.RefusedStorage++
		m.refuse(peer, mismatch.Refusal())
	}
	if err == nil {
		m.met[storage.Starts.Present()] = true
	}
	return err == nil
}

// refuse notifies a peer that its data directory is refused, as the answer to its handshake.
func (m *Member) refuse(peer *Member, refusal proto.Message) {
	w := m.world
	if w.network.cut[direction{m.id, peer.id}] || w.network.cut[direction{peer.id, m.id}] {
		return
	}
	peer.after(w.RandomDuration(w.Conditions.MinLatency, w.Conditions.MaxLatency), func() { peer.Post(actors.NodePath, refusal) })
}
