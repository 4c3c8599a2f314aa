package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"github.com/troupe-raft/troupe/tests/procs"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// A cluster is filled with keys; then one member after the other is ended and started again on its
// data.
type restartFigures struct {
	filling          time.Duration
	resident, onDisk values // of each member, MiB
	// Seconds until a follower says that it serves, after kill -9 and after SIGTERM
	killed, stopped       values
	leader                values // the same of the leader, after either: an election comes first
	firstRead             values // seconds until it has answered a linearizable read, after either
	residentAfter, peaked values // MiB, when it served again
}

// endings are the ways in which a member goes before it is started again.
var endings = []struct {
	name  string
	end   func(context.Context, *procs.Member) error
	ready func(*restartFigures) *values
}{
	{"kill -9", func(_ context.Context, m *procs.Member) error { return m.Kill() },
		func(f *restartFigures) *values { return &f.killed }},
	{"SIGTERM", func(ctx context.Context, m *procs.Member) error { return m.Stop(ctx) },
		func(f *restartFigures) *values { return &f.stopped }},
}

func restartMode(flags *flag.FlagSet) func(context.Context, *bench) (string, error) {
	keys := flags.Int("keys", 1_000_000, "how many keys of 256 B there are")
	return func(ctx context.Context, b *bench) (string, error) {
		if b.quick {
			*keys = min(*keys, 20_000)
		}
		t := table{head: []string{"server", "filling s", "RSS MiB a member", "on disk MiB a member", "follower ready s after kill -9",
			"after SIGTERM", "leader, after either", "first linearizable read s", "RSS MiB when ready", "most until then"}}
		for _, program := range b.programs {
			f, err := restart(ctx, b, program, *keys)
			if err != nil {
				return "", fmt.Errorf("%s: %w", program.Name, err)
			}
			t.row(program.Name, threeDigits(f.filling.Seconds()), f.resident.spread(threeDigits), f.onDisk.spread(threeDigits), f.killed.spread(threeDigits),
				f.stopped.spread(threeDigits), f.leader.spread(threeDigits), f.firstRead.spread(threeDigits), f.residentAfter.spread(threeDigits), f.peaked.spread(threeDigits))
		}
		return fmt.Sprintf("%d keys with values of 256 B. Each member was killed and started again, then ended by SIGTERM and started "+
			"again; medians, in parentheses the lowest and the highest. Ready: the line that says so.\n\n", *keys) + t.String(), nil
	}
}

func restart(ctx context.Context, b *bench, program procs.Program, keys int) (f restartFigures, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, catchupTime, errors.New("it took more than ten minutes"))
	defer cancel()
	c, err := b.startCluster(ctx, program, "restart")
	if err != nil {
		return f, err
	}
	b.progress("%s: writing %d keys", program.Name, keys)
	begin := time.Now()
	if _, err := fill(ctx, c, dataSet(keys)); err != nil {
		return f, err
	}
	f.filling = time.Since(begin)
	if err := awaitQuiet(ctx, c); err != nil {
		return f, err
	}
	for _, m := range c.Members {
		resident, err := residentBytes(m)
		if err != nil {
			return f, err
		}
		f.resident = append(f.resident, float64(resident)/(1<<20))
		f.onDisk = append(f.onDisk, float64(directorySize(m.DataDir))/(1<<20))
	}
	for _, ending := range endings {
		order, err := leaderLast(ctx, c)
		if err != nil {
			return f, err
		}
		for _, m := range order {
			leader, err := c.Leader(ctx)
			if err != nil {
				return f, err
			}
			if err := ending.end(ctx, m); err != nil {
				return f, err
			}
			ready, err := f.measureRestart(ctx, m, keys)
			if err != nil {
				return f, fmt.Errorf("starting %s again after %s: %w", m.Name, ending.name, err)
			}
			into := ending.ready(&f)
			if m == leader {
				into = &f.leader
			}
			*into = append(*into, ready.Seconds())
			b.progress("%s: %s ready %v after %s", program.Name, m.Name, ready.Round(time.Millisecond), ending.name)
		}
	}
	return f, b.endClusters()
}

// leaderLast is an order in which leadership moves as late as can be, so that followers are
// measured as followers.
func leaderLast(ctx context.Context, c *procs.Cluster) ([]*procs.Member, error) {
	leader, err := c.Leader(ctx)
	if err != nil {
		return nil, err
	}
	order := slices.DeleteFunc(slices.Clone(c.Members), func(m *procs.Member) bool { return m == leader })
	return append(order, leader), nil
}

// measureRestart starts a member and checks that it has all the keys.
func (f *restartFigures) measureRestart(ctx context.Context, m *procs.Member, keys int) (ready time.Duration, err error) {
	begin := time.Now()
	if err := m.Start(ctx); err != nil {
		return 0, err
	}
	ready = time.Since(begin)
	usage, err := m.Process().Usage()
	if err != nil {
		return 0, err
	}
	f.residentAfter = append(f.residentAfter, float64(usage.ResidentBytes)/(1<<20))
	f.peaked = append(f.peaked, float64(usage.PeakBytes)/(1<<20))
	client, err := procs.Dial(m.Endpoint())
	if err != nil {
		return 0, err
	}
	defer client.Close()
	if _, err := client.Get(ctx, fillPrefix+"00000000"); err != nil {
		return 0, err
	}
	f.firstRead = append(f.firstRead, time.Since(begin).Seconds())
	counted, err := client.Get(ctx, fillPrefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err == nil && counted.Count != int64(keys) {
		err = fmt.Errorf("%d keys of %d are there", counted.Count, keys)
	}
	return ready, err
}

// directorySize is what the files below a directory take on the disk.
func directorySize(dir string) int64 {
	var sum int64
	_ = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			sum += blocksOf(path)
		}
		return nil // a file that has gone meanwhile takes nothing
	})
	return sum
}
