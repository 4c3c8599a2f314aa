package troupe

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/troupe-raft/troupe/messages"
)

// leadershipPublisher publishes the leader that a node knows. The node's actors call leaderChanged
// from their own goroutines.
type leadershipPublisher struct {
	leader atomic.Uint64

	mu          sync.Mutex
	subscribers map[chan Leadership]bool
	latest      Leadership // that was published
	changes     uint64     // to a leader, since the start of the node
}

func newLeadershipPublisher() *leadershipPublisher {
	return &leadershipPublisher{subscribers: map[chan Leadership]bool{}}
}

func (p *leadershipPublisher) changeCount() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changes
}

// leaderChanged publishes a change of the leader.
func (p *leadershipPublisher) leaderChanged(m *messages.LeaderChanged) {
	p.leader.Store(m.Leader)
	p.mu.Lock()
	defer p.mu.Unlock()
	next := Leadership{Term: m.Term, LeaderID: m.Leader}
	if next == p.latest {
		return
	}
	if next.LeaderID != 0 {
		p.changes++
	}
	p.latest = next
	for s := range p.subscribers {
		replaceLatest(s, next)
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

func (p *leadershipPublisher) subscribe() (<-chan Leadership, func()) {
	s := make(chan Leadership, 1)
	p.mu.Lock()
	p.subscribers[s] = true
	s <- p.latest
	p.mu.Unlock()
	return s, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.subscribers[s] {
			delete(p.subscribers, s)
			close(s)
		}
	}
}

func (p *leadershipPublisher) waitForLeader(ctx context.Context, done <-chan struct{}) (uint64, error) {
	changes, stop := p.subscribe()
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
