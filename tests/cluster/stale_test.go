package cluster

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/troupe-raft/troupe/tests/procs"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// A member that is stopped and continued knows an old state until its peers have told it the new
// one. The reads are sent to it while it is stopped, so that it handles them first.
func TestContinuedMemberGivesNoStaleRead(t *testing.T) {
	rounds := 10
	if testing.Short() {
		rounds = 3
	}
	c := startCluster(t, 3, "--heartbeat-interval=50", "--election-timeout=500")
	for round := range rounds {
		leader, followers := mustLeader(t, c)
		stopped, others := followers[0], []*procs.Member{leader, followers[1]}
		if round%3 == 2 {
			stopped, others = leader, followers // it is still in the role of leader when it continues
		}
		client := dial(t, stopped.Endpoint())
		survivors := dial(t, others[0].Endpoint(), others[1].Endpoint())
		ctx := contextWithin(t, time.Minute)
		putUntilDone(t, ctx, client, "old")
		mustSucceed(t, stopped.Pause())
		value := fmt.Sprintf("new in round %d", round)
		putUntilDone(t, ctx, survivors, value)
		ways := linearizableReads()
		results := make(chan error, len(ways))
		for _, way := range ways {
			go func() { results <- readOnce(ctx, client, way, value) }()
		}
		mustSucceed(t, stopped.Resume())
		for range ways {
			if err := <-results; err != nil {
				t.Errorf("round %d, %s continued: %v", round, stopped.Name, err)
			}
		}
	}
}

// putUntilDone puts the key until a put is acknowledged: etcd fails those during an election.
func putUntilDone(t *testing.T, ctx context.Context, client *clientv3.Client, value string) {
	t.Helper()
	for {
		if _, err := client.Put(ctx, "k", value); err == nil {
			return
		} else if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}

// readOnce returns an error if the read returns anything but the value. A read that fails is tried
// again: a leader that continues steps down first.
func readOnce(ctx context.Context, client *clientv3.Client, way readWay, value string) error {
	for {
		response, err := way.read(ctx, client, "k")
		switch {
		case err == nil && len(response.Kvs) == 1 && string(response.Kvs[0].Value) == value:
			return nil
		case err == nil:
			return fmt.Errorf("%s: stale read of %v, want %q", way.name, response.Kvs, value)
		case ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded):
			return fmt.Errorf("%s: %w", way.name, err)
		}
	}
}
