// Package cluster tests the server as a process: on loopback with real disks, under kills, pauses,
// wrong settings and invalid input.
//
//	go -C tests/cluster test -count=1 ./...   all tests; -short for fewer kills
//
// With TROUPE_CLUSTER_SERVER=etcd the tests run against etcd v3.7.3, which validates the tests.
// TROUPE_BIN names a binary that is built already.
//
// Against etcd, the tests of guarantees that only Troupe gives are skipped.
//
// The tests build the binary themselves. The test cache does not see that, hence -count=1.
package cluster

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/troupe-raft/troupe/tests/procs"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// program is the server under test, built once.
var program procs.Program

func TestMain(m *testing.M) {
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "troupe-cluster-test-")
	if err == nil {
		defer os.RemoveAll(dir)
		program, err = procs.UnderTest(context.Background(), "TROUPE_CLUSTER_SERVER", dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func contextWithin(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// startCluster starts a cluster that is killed at the end of the test. A failed test logs the last
// output of its members.
func startCluster(t *testing.T, size int, flags ...string) *procs.Cluster {
	t.Helper()
	c, err := procs.StartCluster(contextWithin(t, time.Minute), procs.Config{Program: program, Size: size, Dir: t.TempDir(), Flags: flags})
	mustSucceed(t, err)
	closeOnCleanup(t, c)
	return c
}

func closeOnCleanup(t *testing.T, c *procs.Cluster) {
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			for _, m := range c.Members {
				if m.Process() == nil {
					continue
				}
				t.Logf("last output of %s:\n%s", m.Name, lastBytes(m.Process().Output(), 4<<10))
			}
		}
	})
}

func lastBytes(s string, n int) string {
	return s[max(0, len(s)-n):]
}

func dial(t *testing.T, endpoints ...string) *clientv3.Client {
	t.Helper()
	client, err := procs.Dial(endpoints...)
	mustSucceed(t, err)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func mustLeader(t *testing.T, c *procs.Cluster) (leader *procs.Member, followers []*procs.Member) {
	t.Helper()
	leader, err := c.Leader(contextWithin(t, 2*time.Minute))
	mustSucceed(t, err)
	for _, m := range c.Members {
		if m != leader {
			followers = append(followers, m)
		}
	}
	return leader, followers
}

func skipUnlessTroupe(t *testing.T) {
	t.Helper()
	if program.Name != "troupe" {
		t.Skipf("a guarantee of Troupe, not of %s", program.Name)
	}
}

func mustSucceed(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
