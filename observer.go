package troupe

import (
	"context"
	"fmt"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
)

// observer is the Probe of a live node: it keeps the latest view of each actor for Status, counts what metrics tell, and
// passes changes of leader on.
type observer struct {
	term   atomic.Uint64
	leader atomic.Uint64

	mu          sync.Mutex
	node        actors.NodeView
	members     []Member // of node.Configuration; made anew with it, never changed
	logView     actors.LogView
	machine     actors.MachineView
	peers       map[uint64]actors.ReplicatorView
	recovered   chan struct{} // closed once the Node has left `recovering` for the first time
	subscribers map[chan Leadership]bool
	known       Leadership
	metrics     Metrics
}

// Metrics are counters since the start of the node.
type Metrics struct {
	// Syncs of the log, the entries and bytes they made durable, and how long write and sync took, in buckets as in
	// SyncBuckets (the last one is everything above).
	Syncs       uint64
	SyncEntries uint64
	SyncBytes   uint64
	SyncTime    time.Duration
	SyncCounts  [len(SyncBuckets) + 1]uint64
	// LeaderChanges seen by this member.
	LeaderChanges uint64
	// PendingProposals of this handle, and their bytes.
	PendingProposals int
	PendingBytes     uint64
	// PendingReads of this handle, and how many ReadPoints they wait for that the state machine has not reached.
	PendingReads int
	ReadPoints   int
	// Refusals of this handle, by the limit that was reached: always all limits in the same order.
	Refusals []Refusals
	// UncommittedBytes and LeaderReads at a leader: what is proposed and not committed or not on its own disk, and the read
	// points that are asked of it. MemoryBytes of the in-memory log; LedgerBytes of answers kept for retries, for how many
	// LedgerOrigins.
	UncommittedBytes uint64
	LeaderReads      int
	MemoryBytes      uint64
	LedgerBytes      uint64
	LedgerOrigins    int
	// Actors by name: depth of the mailbox, messages handled, time spent working.
	Actors []ActorMetrics
	// Links to the peers.
	Links []LinkMetrics
	// PeerConnectionsRejected were closed because the peer port had as many as it may.
	PeerConnectionsRejected uint64
	// LostMessages could not be handed to anyone: they were for a peer that is not known, or from a peer for an actor that
	// is no more.
	LostMessages uint64
}

// ActorMetrics tells how busy an actor is.
type ActorMetrics struct {
	Name    string
	Depth   int
	Handled uint64
	Busy    time.Duration
}

// LinkMetrics tells of the connection to a peer.
type LinkMetrics struct {
	Peer                         uint64
	Up                           bool
	BytesSent, BytesReceived     uint64
	LettersSent, LettersReceived uint64
	Dropped                      uint64
	QueuedBytes                  int
}

// SyncBuckets are the upper bounds of Metrics.SyncCounts: those of etcd's etcd_disk_wal_fsync_duration_seconds, with
// finer ones below.
var SyncBuckets = [...]time.Duration{
	62500, 125000, 250000, 500000, time.Millisecond, 2 * time.Millisecond, 4 * time.Millisecond, 8 * time.Millisecond,
	16 * time.Millisecond, 32 * time.Millisecond, 64 * time.Millisecond, 128 * time.Millisecond, 256 * time.Millisecond,
	512 * time.Millisecond, 1024 * time.Millisecond, 2048 * time.Millisecond, 4096 * time.Millisecond, 8192 * time.Millisecond,
}

func newObserver() *observer {
	return &observer{
		peers: map[uint64]actors.ReplicatorView{}, recovered: make(chan struct{}), subscribers: map[chan Leadership]bool{},
	}
}

// Node takes the view of the Node, at the end of each message that changed it.
func (o *observer) Node(v actors.NodeView) {
	o.term.Store(v.Term)
	o.mu.Lock()
	defer o.mu.Unlock()
	if v.Role != "recovering" && o.node.Role != "leader" && v.Role == "leader" {
		clear(o.peers)
	}
	if v.Configuration != o.node.Configuration {
		o.members = membersOf(v.Configuration)
	}
	o.node = v
	if v.Role != "recovering" {
		select {
		case <-o.recovered:
		default:
			close(o.recovered)
		}
	}
}

// Log, Machine and Replicator take the views of those actors.
func (o *observer) Log(v actors.LogView) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.logView = v
}

// Machine takes the view of the Machine.
func (o *observer) Machine(v actors.MachineView) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.machine = v
}

// Replicator takes the view of one Replicator.
func (o *observer) Replicator(v actors.ReplicatorView) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.peers[v.Peer] = v
}

// Synced counts one group commit.
func (o *observer) Synced(entries, bytes int, took time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.metrics.Syncs++
	o.metrics.SyncEntries += uint64(entries)
	o.metrics.SyncBytes += uint64(bytes)
	o.metrics.SyncTime += took
	k := sort.Search(len(SyncBuckets), func(i int) bool { return took <= SyncBuckets[i] })
	o.metrics.SyncCounts[k]++
}

// leaderChanged passes a change on to who waits for it.
func (o *observer) leaderChanged(m *messages.LeaderChanged) {
	o.leader.Store(m.Leader)
	o.mu.Lock()
	defer o.mu.Unlock()
	now := Leadership{Term: m.Term, Leader: m.Leader}
	if now == o.known {
		return
	}
	if now.Leader != 0 && (now.Leader != o.known.Leader || now.Term != o.known.Term) {
		o.metrics.LeaderChanges++
	}
	o.known = now
	for s := range o.subscribers {
		offer(s, now)
	}
}

// offer puts the latest leadership into a channel that holds one.
func offer(s chan Leadership, now Leadership) {
	for {
		select {
		case s <- now:
			return
		default:
		}
		select {
		case <-s:
		default:
		}
	}
}

func (o *observer) subscribe() (<-chan Leadership, func()) {
	s := make(chan Leadership, 1)
	o.mu.Lock()
	o.subscribers[s] = true
	s <- o.known
	o.mu.Unlock()
	return s, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.subscribers[s] {
			delete(o.subscribers, s)
			close(s)
		}
	}
}

func (o *observer) waitForLeader(ctx context.Context, done <-chan struct{}) (uint64, error) {
	changes, stop := o.subscribe()
	defer stop()
	for {
		select {
		case c := <-changes:
			if c.Leader != 0 {
				return c.Leader, nil
			}
		case <-ctx.Done():
			return 0, fmt.Errorf("%w: %w", ErrNoLeader, ctx.Err())
		case <-done:
			return 0, ErrStopped
		}
	}
}

func membersOf(c *messages.Configuration) (members []Member) {
	for _, m := range c.GetMembers() {
		members = append(members, Member{ID: m.Id, Name: m.Name, Address: m.Address, PeerURLs: m.PeerUrls, Learner: m.Learner})
	}
	return members
}

// status is the picture of the node but for what the handle knows itself.
func (o *observer) status() Status {
	o.mu.Lock()
	defer o.mu.Unlock()
	v := o.node
	s := Status{
		Role: v.Role, Term: v.Term, Leader: v.Leader, Learner: v.Learner, Commit: v.Commit, Applied: o.machine.Applied,
		Last: v.LastIndex, First: o.logView.FirstIndex, Serving: o.machine.Serving, LogBytes: o.logView.DiskBytes,
		DiskLow: v.DiskLow, Members: o.members, ConfigurationIndex: v.ConfigurationIndex,
	}
	if v.Role != "leader" {
		return s
	}
	for _, p := range o.peers {
		if p.State != "stopped" {
			s.Peers = append(s.Peers, PeerStatus{
				ID: p.Peer, State: p.State, Match: p.Match, Next: p.Next, InFlight: p.InFlight, InFlightBytes: p.InFlightBytes,
			})
		}
	}
	sort.Slice(s.Peers, func(i, j int) bool { return s.Peers[i].ID < s.Peers[j].ID })
	return s
}
