package member

import (
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/troupe-raft/troupe/actors"
)

// The roles of actors.NodeView and the state of actors.ReplicatorView that a node distinguishes.
const (
	RoleRecovering = "recovering"
	RoleLeader     = "leader"

	stoppedReplicator = "stopped"
)

// Observer is the actors.StateObserver of a node. It keeps the latest view of each actor, and
// counts the syncs of the log. The actors call it from their own goroutines.
type Observer struct {
	next      actors.StateObserver // receives the same; nil if nobody wants it
	term      atomic.Uint64
	recovered chan struct{} // closed when the Node is no longer recovering for the first time

	mu           sync.Mutex
	views        Views
	peers        map[uint64]actors.ReplicatorView
	syncs        Syncs
	hasRecovered bool
}

// Views are the latest states of a node's actors.
type Views struct {
	Node     actors.NodeView
	LogStore actors.LogStoreView
	Machine  actors.MachineView
	// Replicators are those of the present leadership, ordered by id; none if the node does not lead.
	Replicators []actors.ReplicatorView
}

// Syncs counts the group commits of the log since the start of the node.
type Syncs struct {
	Count, Entries, Bytes uint64
	Duration              time.Duration
	// Durations counts them by duration: element i those of at most SyncDurationBuckets[i] that are
	// longer than the bucket before; the last element the rest.
	Durations [len(SyncDurationBuckets) + 1]uint64
}

// SyncDurationBuckets are the upper bounds of Syncs.Durations. They are the bounds of etcd's
// etcd_disk_wal_fsync_duration_seconds, with finer ones below.
var SyncDurationBuckets = [...]time.Duration{
	62500, 125000, 250000, 500000,
	time.Millisecond, 2 * time.Millisecond, 4 * time.Millisecond, 8 * time.Millisecond,
	16 * time.Millisecond, 32 * time.Millisecond, 64 * time.Millisecond, 128 * time.Millisecond,
	256 * time.Millisecond, 512 * time.Millisecond, 1024 * time.Millisecond, 2048 * time.Millisecond,
	4096 * time.Millisecond, 8192 * time.Millisecond,
}

func newObserver(next actors.StateObserver) *Observer {
	return &Observer{next: next, recovered: make(chan struct{}), peers: map[uint64]actors.ReplicatorView{}}
}

// Recovered returns a channel that is closed when the node has recovered its log.
func (o *Observer) Recovered() <-chan struct{} { return o.recovered }

// Term returns the current term. It is cheaper than Views.
func (o *Observer) Term() uint64 { return o.term.Load() }

// Views returns the latest states.
func (o *Observer) Views() Views {
	o.mu.Lock()
	defer o.mu.Unlock()
	v := o.views
	if v.Node.Role != RoleLeader {
		return v
	}
	for _, p := range o.peers {
		if p.State != stoppedReplicator {
			v.Replicators = append(v.Replicators, p)
		}
	}
	sort.Slice(v.Replicators, func(i, j int) bool { return v.Replicators[i].PeerID < v.Replicators[j].PeerID })
	return v
}

// Syncs returns the counts of group commits.
func (o *Observer) Syncs() Syncs {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.syncs
}

// Node receives the state of the Node actor.
func (o *Observer) Node(v actors.NodeView) {
	if o.next != nil {
		defer o.next.Node(v)
	}
	o.term.Store(v.Term)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.views.Node.Role != RoleLeader && v.Role == RoleLeader {
		clear(o.peers) // those of an earlier leadership
	}
	o.views.Node = v
	if v.Role != RoleRecovering && !o.hasRecovered {
		o.hasRecovered = true
		close(o.recovered)
	}
}

// LogStore receives the state of the LogStore actor.
func (o *Observer) LogStore(v actors.LogStoreView) {
	if o.next != nil {
		defer o.next.LogStore(v)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.views.LogStore = v
}

// Machine receives the state of the Machine actor.
func (o *Observer) Machine(v actors.MachineView) {
	if o.next != nil {
		defer o.next.Machine(v)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.views.Machine = v
}

// Replicator receives the state of one Replicator actor.
func (o *Observer) Replicator(v actors.ReplicatorView) {
	if o.next != nil {
		defer o.next.Replicator(v)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.peers[v.PeerID] = v
}

// Synced counts one group commit.
func (o *Observer) Synced(entries, bytes int, took time.Duration) {
	if o.next != nil {
		defer o.next.Synced(entries, bytes, took)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.syncs.Count++
	o.syncs.Entries += uint64(entries)
	o.syncs.Bytes += uint64(bytes)
	o.syncs.Duration += took
	k := sort.Search(len(SyncDurationBuckets), func(i int) bool { return took <= SyncDurationBuckets[i] })
	o.syncs.Durations[k]++
}
