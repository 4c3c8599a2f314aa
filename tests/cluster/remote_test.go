package cluster

import (
	"fmt"
	"testing"
	"time"
)

// Three processes with Proto.Actor's remote instead of Troupe's link. It is experimental, so this
// is a smoke test: writes at every member, reads at every member, and the loss of the leader.
func TestClusterOverProtoActorRemote(t *testing.T) {
	if program.Name != "troupe" {
		t.Skip("only Troupe has actors")
	}
	c := startCluster(t, 3, "--peer-link=remote")
	ctx := contextWithin(t, time.Minute)
	writeAndRead := func(round string) {
		t.Helper()
		for i, m := range c.Members {
			if m.Process() == nil {
				continue
			}
			key := fmt.Sprintf("%s-%d", round, i)
			if _, err := dial(t, m.Endpoint()).Put(ctx, key, "v"); err != nil {
				t.Fatalf("put at %s: %v", m.Name, err)
			}
			for _, other := range c.Members {
				if other.Process() == nil {
					continue
				}
				r, err := dial(t, other.Endpoint()).Get(ctx, key)
				if err != nil || len(r.Kvs) != 1 {
					t.Fatalf("get %s at %s: %v, %v", key, other.Name, r, err)
				}
			}
		}
	}
	writeAndRead("first")
	leader, err := c.Leader(ctx)
	mustSucceed(t, err)
	mustSucceed(t, leader.Kill())
	for _, m := range c.Members {
		if m != leader {
			if _, err := dial(t, m.Endpoint()).Put(ctx, "after the kill", m.Name); err != nil {
				t.Fatalf("put at %s after the leader was killed: %v", m.Name, err)
			}
		}
	}
	mustSucceed(t, leader.Start(ctx))
	writeAndRead("again")
}
