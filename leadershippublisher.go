package troupe

import (
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
	ended       bool       // the node has stopped: latest names no leader
}

func newLeadershipPublisher() *leadershipPublisher {
	return &leadershipPublisher{subscribers: map[chan Leadership]bool{}}
}

func (p *leadershipPublisher) changeCount() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changes
}

// leaderChanged publishes the leader, and reports whether it has changed.
func (p *leadershipPublisher) leaderChanged(m *messages.LeaderChanged) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	next := Leadership{Term: m.Term, LeaderID: m.Leader}
	if next == p.latest || p.ended {
		return false
	}
	p.leader.Store(m.Leader)
	if next.LeaderID != 0 {
		p.changes++
	}
	p.latest = next
	for s := range p.subscribers {
		replaceLatest(s, next)
	}
	return true
}

// end publishes that this node knows no leader, and that there will be no other change. A program
// that acts while its member leads must not go on because its node has stopped.
func (p *leadershipPublisher) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leader.Store(0)
	p.latest.LeaderID, p.ended = 0, true
	for s := range p.subscribers {
		replaceLatest(s, p.latest)
		close(s)
	}
	clear(p.subscribers)
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
	defer p.mu.Unlock()
	s <- p.latest
	if p.ended {
		close(s)
		return s, func() {}
	}
	p.subscribers[s] = true
	return s, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.subscribers[s] {
			delete(p.subscribers, s)
			close(s)
		}
	}
}
