// Package conformance tests that Troupe responds as etcd v3.7.3 does: to etcdctl, command by
// command, and to clientv3's protobuf requests, thousands of random ones compared with a real etcd
// field by field.
//
//	go -C tests/conformance test -count=1 ./...
//	go -C tests/conformance test -count=1 -run Differential -calls 100000 -seed 7
//
// The first tests Troupe as built from this checkout. With TROUPE_CONFORMANCE_SERVER=etcd the tests
// run against etcd itself, which validates the tests.
//
// The tests build the binary, so go test cannot know when a cached result is out of date: -count=1.
package conformance

import (
	"context"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/troupe-raft/troupe/tests/procs"
)

var (
	calls = flag.Int("calls", 4000, "random calls of each differential test")
	seed  = flag.Uint64("seed", 0, "of the differential tests; 0: a new one each time")
)

// The programs that the tests run, built once.
var (
	program   procs.Program // under test
	reference procs.Program // etcd
	etcdctl   string
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "troupe-conformance-")
	if err == nil {
		defer os.RemoveAll(dir)
		err = build(context.Background(), dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func build(ctx context.Context, dir string) (err error) {
	if reference, err = procs.Etcd(ctx, dir); err != nil {
		return err
	}
	if program, err = procs.UnderTest(ctx, "TROUPE_CONFORMANCE_SERVER", dir); err != nil {
		return err
	}
	etcdctl, err = procs.Etcdctl(ctx, dir)
	return err
}

func contextWithin(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func startCluster(t *testing.T, program procs.Program, size int, flags ...string) *procs.Cluster {
	t.Helper()
	c, err := procs.StartCluster(contextWithin(t, time.Minute), procs.Config{Program: program, Size: size, Dir: t.TempDir(), Flags: flags})
	mustSucceed(t, err)
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			for _, m := range c.Members {
				output := m.Process().Output()
				t.Logf("the end of the output of %s, %s:\n%s", program.Name, m.Name, output[max(0, len(output)-16<<10):])
			}
		}
	})
	return c
}

func mustSucceed(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
