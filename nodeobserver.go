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
type nodeObserver struct {
	term   atomic.Uint64
	leader atomic.Uint64

	mu          sync.Mutex
	node        actors.NodeView
	members     []Member // of node.Configuration; made anew with it, never changed
	logStore    actors.LogView
	machine     actors.MachineView
	peers       map[uint64]actors.ReplicatorView
	recovered   chan struct{} // closed once the Node has left `recovering` for the first time
	subscribers map[chan Leadership]bool
	leadership  Leadership
	metrics     Metrics
}

// Metrics are counters since the start of the node.
type Metrics struct {
	// Syncs of the log, the entries and bytes they made durable, and how long write and sync took, in buckets as in
	// SyncDurationBuckets (the last one is everything above).
	Syncs              uint64
	SyncEntries        uint64
	SyncBytes          uint64
	SyncDuration       time.Duration
	SyncDurationCounts [len(SyncDurationBuckets) + 1]uint64
	// LeaderChanges seen by this member.
	LeaderChanges uint64
	// PendingProposals of this handle, and their bytes.
	PendingProposals     int
	PendingProposalBytes uint64
	// PendingReads of this handle, and how many UnappliedReadPoints they wait for that the state machine has not reached.
	PendingReads        int
	UnappliedReadPoints int
	// RefusalCount of this handle, by the limit that was reached: always all limits in the same order.
	Refusals []RefusalCount
	// UncommittedBytes and LeaderPendingReads at a leader: what is proposed and not committed or not on its own disk, and the read
	// points that are asked of it. LogMemoryBytes of the in-memory log; SessionBytes of answers kept for retries, for how many
	// Sessions.
	UncommittedBytes   uint64
	LeaderPendingReads int
	LogMemoryBytes     uint64
	SessionBytes       uint64
	Sessions           int
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
	Name            string
	MailboxDepth    int
	MessagesHandled uint64
	BusyTime        time.Duration
}

// LinkMetrics tells of the connection to a peer.
type LinkMetrics struct {
	PeerID                           uint64
	Up                               bool
	BytesSent, BytesReceived         uint64
	EnvelopesSent, EnvelopesReceived uint64
	EnvelopesDropped                 uint64
	QueuedBytes                      int
}

// SyncDurationBuckets are the upper bounds of Metrics.SyncDurationCounts: those of etcd's etcd_disk_wal_fsync_duration_seconds, with
// finer ones below.
var SyncDurationBuckets = [...]time.Duration{
	62500, 125000, 250000, 500000, time.Millisecond, 2 * time.Millisecond, 4 * time.Millisecond, 8 * time.Millisecond,
	16 * time.Millisecond, 32 * time.Millisecond, 64 * time.Millisecond, 128 * time.Millisecond, 256 * time.Millisecond,
	512 * time.Millisecond, 1024 * time.Millisecond, 2048 * time.Millisecond, 4096 * time.Millisecond, 8192 * time.Millisecond,
}

func newNodeObserver() *nodeObserver {
	return &nodeObserver{
		peers: map[uint64]actors.ReplicatorView{}, recovered: make(chan struct{}), subscribers: map[chan Leadership]bool{},
	}
}

// Node takes the view of the Node, at the end of each message that changed it.
func (o *nodeObserver) Node(v actors.NodeView) {
	o.term.Store(v.Term)
	o.mu.Lock()
	defer o.mu.Unlock()
	if v.Role != "recovering" && o.node.Role != "leader" && v.Role == "leader" {
		clear(o.peers)
	}
	if v.Configuration != o.node.Configuration {
		o.members = publicMembers(v.Configuration)
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
func (o *nodeObserver) Log(v actors.LogView) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.logStore = v
}

// Machine takes the view of the Machine.
func (o *nodeObserver) Machine(v actors.MachineView) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.machine = v
}

// Replicator takes the view of one Replicator.
func (o *nodeObserver) Replicator(v actors.ReplicatorView) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.peers[v.PeerID] = v
}

// Synced counts one group commit.
func (o *nodeObserver) Synced(entries, bytes int, took time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.metrics.Syncs++
	o.metrics.SyncEntries += uint64(entries)
	o.metrics.SyncBytes += uint64(bytes)
	o.metrics.SyncDuration += took
	k := sort.Search(len(SyncDurationBuckets), func(i int) bool { return took <= SyncDurationBuckets[i] })
	o.metrics.SyncDurationCounts[k]++
}

// leaderChanged passes a change on to who waits for it.
func (o *nodeObserver) leaderChanged(m *messages.LeaderChanged) {
	o.leader.Store(m.Leader)
	o.mu.Lock()
	defer o.mu.Unlock()
	now := Leadership{Term: m.Term, LeaderID: m.Leader}
	if now == o.leadership {
		return
	}
	if now.LeaderID != 0 && (now.LeaderID != o.leadership.LeaderID || now.Term != o.leadership.Term) {
		o.metrics.LeaderChanges++
	}
	o.leadership = now
	for s := range o.subscribers {
		replaceLatest(s, now)
	}
}

// offer puts the latest leadership into a channel that holds one.
func replaceLatest(s chan Leadership, now Leadership) {
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

func (o *nodeObserver) subscribe() (<-chan Leadership, func()) {
	s := make(chan Leadership, 1)
	o.mu.Lock()
	o.subscribers[s] = true
	s <- o.leadership
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

func (o *nodeObserver) waitForLeader(ctx context.Context, done <-chan struct{}) (uint64, error) {
	changes, stop := o.subscribe()
	defer stop()
	for {
		select {
		case c := <-changes:
			if c.LeaderID != 0 {
				return c.LeaderID, nil
			}
		case <-ctx.Done():
			return 0, fmt.Errorf("%w: %w", ErrNoLeader, ctx.Err())
		case <-done:
			return 0, ErrStopped
		}
	}
}

func publicMembers(c *messages.Configuration) (members []Member) {
	for _, m := range c.GetMembers() {
		members = append(members, Member{ID: m.Id, Name: m.Name, Address: m.Address, PeerURLs: m.PeerUrls, IsLearner: m.Learner})
	}
	return members
}

// status is the picture of the node but for what the handle knows itself.
func (o *nodeObserver) status() Status {
	o.mu.Lock()
	defer o.mu.Unlock()
	v := o.node
	s := Status{
		Role: v.Role, Term: v.Term, LeaderID: v.LeaderID, IsLearner: v.Learner, CommitIndex: v.Commit, AppliedIndex: o.machine.Applied,
		LastIndex: v.LastIndex, FirstIndex: o.logStore.FirstIndex, Serving: o.machine.Serving, LogBytes: o.logStore.DiskBytes,
		DiskLow: v.DiskLow, Members: o.members, ConfigurationIndex: v.ConfigurationIndex,
	}
	if v.Role != "leader" {
		return s
	}
	for _, p := range o.peers {
		if p.State != "stopped" {
			s.Peers = append(s.Peers, PeerStatus{
				ID: p.PeerID, State: p.State, Match: p.Match, Next: p.Next, InFlightMessages: p.InFlight, InFlightBytes: p.InFlightBytes,
			})
		}
	}
	sort.Slice(s.Peers, func(i, j int) bool { return s.Peers[i].ID < s.Peers[j].ID })
	return s
}
