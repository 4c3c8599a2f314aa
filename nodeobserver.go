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

// nodeObserver is the actors.StateObserver of a live node. It keeps the latest view of each actor
// for Status and Metrics, and publishes changes of the leader. The actors call it from their own
// goroutines.
type nodeObserver struct {
	term      atomic.Uint64
	leader    atomic.Uint64
	recovered chan struct{} // closed when the Node is no longer recovering for the first time

	mu          sync.Mutex
	node        actors.NodeView
	members     []Member // of node.Configuration; never changed, so that Status can share it
	logStore    actors.LogStoreView
	machine     actors.MachineView
	peers       map[uint64]actors.ReplicatorView
	subscribers map[chan Leadership]bool
	leadership  Leadership // the latest that was published
	metrics     Metrics    // only the counters of syncs and leader changes
}

func newNodeObserver() *nodeObserver {
	return &nodeObserver{
		recovered:   make(chan struct{}),
		peers:       map[uint64]actors.ReplicatorView{},
		subscribers: map[chan Leadership]bool{},
	}
}

// Node receives the state of the Node actor.
func (o *nodeObserver) Node(v actors.NodeView) {
	o.term.Store(v.Term)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.node.Role != roleLeader && v.Role == roleLeader {
		clear(o.peers) // those of an earlier leadership
	}
	if v.Configuration != o.node.Configuration {
		o.members = publicMembers(v.Configuration)
	}
	o.node = v
	if v.Role != roleRecovering {
		select {
		case <-o.recovered:
		default:
			close(o.recovered)
		}
	}
}

// LogStore receives the state of the LogStore actor.
func (o *nodeObserver) LogStore(v actors.LogStoreView) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.logStore = v
}

// Machine receives the state of the Machine actor.
func (o *nodeObserver) Machine(v actors.MachineView) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.machine = v
}

// Replicator receives the state of one Replicator actor.
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

// leaderChanged publishes a change of the leader.
func (o *nodeObserver) leaderChanged(m *messages.LeaderChanged) {
	o.leader.Store(m.Leader)
	o.mu.Lock()
	defer o.mu.Unlock()
	latest := Leadership{Term: m.Term, LeaderID: m.Leader}
	if latest == o.leadership {
		return
	}
	if latest.LeaderID != 0 {
		o.metrics.LeaderChanges++
	}
	o.leadership = latest
	for s := range o.subscribers {
		replaceLatest(s, latest)
	}
}

// replaceLatest puts a value into a channel that holds one, in place of a value that nobody has
// received.
func replaceLatest(s chan Leadership, latest Leadership) {
	for {
		select {
		case s <- latest:
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
