package kv

import (
	"context"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/metadata"
)

// requiresLeader reports whether the client requires, by metadata, that the member knows a leader.
func requiresLeader(ctx context.Context) bool {
	asked := metadata.ValueFromIncomingContext(ctx, rpctypes.MetadataRequireLeaderKey)
	return len(asked) > 0 && asked[0] == rpctypes.MetadataHasLeader
}

// leaderLossDetector ends the streams of clients that require a leader once none has been known for
// leaderLossElectionTimeouts. New calls are refused at once; streams are not, since reconnecting
// thousands of watches costs more than waiting for an election.
type leaderLossDetector struct {
	mu   sync.Mutex
	lost chan struct{} // guarded by mu; closed while the leader counts as lost
}

// leaderLossElectionTimeouts is etcd's.
const leaderLossElectionTimeouts = 3

func newLeaderLossDetector() *leaderLossDetector {
	return &leaderLossDetector{lost: make(chan struct{})}
}

// lostFor returns a channel that is closed when the stream is to end; nil if its client does not
// require a leader.
func (l *leaderLossDetector) lostFor(ctx context.Context) <-chan struct{} {
	if !requiresLeader(ctx) {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

// pollsPerElectionTimeout is how often the leader is polled, for streams and for the health
// service.
const pollsPerElectionTimeout = 10

// run polls the leader until done is closed, and calls changed with each result.
func (l *leaderLossDetector) run(consensus Consensus, electionTimeout time.Duration, changed func(known bool), done <-chan struct{}) {
	ticker := time.NewTicker(max(electionTimeout/pollsPerElectionTimeout, time.Millisecond))
	defer ticker.Stop()
	without := 0
	for {
		known := consensus.Status().LeaderID != 0
		changed(known)
		if known {
			without = 0
		} else {
			without++
		}
		l.setLost(without > leaderLossElectionTimeouts*pollsPerElectionTimeout)
		select {
		case <-ticker.C:
		case <-done:
			return
		}
	}
}

func (l *leaderLossDetector) setLost(isLost bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.lost:
		if !isLost {
			l.lost = make(chan struct{})
		}
	default:
		if isLost {
			close(l.lost)
		}
	}
}
