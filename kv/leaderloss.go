package kv

import (
	"context"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/metadata"
)

// requiresLeader: the client asked, by metadata, to be refused rather than served by a member that knows no leader.
func requiresLeader(ctx context.Context) bool {
	asked := metadata.ValueFromIncomingContext(ctx, rpctypes.MetadataRequireLeaderKey)
	return len(asked) > 0 && asked[0] == rpctypes.MetadataHasLeader
}

// leaderLossDetector ends the streams of clients that require a leader when there has been none for a while. New requests are
// refused at once, streams only after patience has run out: reconnecting a thousand watches for an election that takes a
// second would cost more than it tells.
type leaderLossDetector struct {
	mu   sync.Mutex
	lost chan struct{} // guarded by mu; closed when patience ran out, made anew when there is a leader
}

// leaderLossElectionTimeouts is for how many election timeouts streams live on without a leader (as in etcd).
const leaderLossElectionTimeouts = 3

func newLeaderLossDetector() *leaderLossDetector {
	return &leaderLossDetector{lost: make(chan struct{})}
}

// of is closed when the stream shall end for want of a leader; nil, which never is, for clients that do not ask for it.
func (l *leaderLossDetector) lostFor(ctx context.Context) <-chan struct{} {
	if !requiresLeader(ctx) {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

// pollsPerElectionTimeout is how often in an election timeout it is looked whether there is a leader; the health service
// follows at that pace.
const pollsPerElectionTimeout = 10

// run looks until done.
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
