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

// restartFigures are the figures of the mode restart, which fills a cluster with keys, and then
// ends and starts one member after the other.
type restartFigures struct {
	fillTime         time.Duration
	resident, onDisk values // MiB of each member
	killed, stopped  values // seconds until a follower is ready after SIGKILL and after SIGTERM
	leader           values // seconds until the former leader is ready, after either signal
	firstRead        values // seconds until the response to a linearizable read, after either signal
	residentAfter    values // MiB when the member is ready
	peakAfter        values // MiB, the largest until the member is ready
}

// endings are the ways in which a member is ended.
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
	keys := flags.Int("keys", 1_000_000, "number of keys with values of 256 B")
	return func(ctx context.Context, b *bench) (string, error) {
		if b.quick {
			*keys = min(*keys, 20_000)
		}
		t := table{head: []string{"server", "filling s", "RSS MiB a member", "on disk MiB a member", "follower ready s after kill -9",
			"after SIGTERM", "leader, after either", "first linearizable read s", "RSS MiB when ready", "most until then"}}
		for _, program := range b.programs {
			f, err := measureRestarts(ctx, b, program, *keys)
			if err != nil {
				return "", fmt.Errorf("%s: %w", program.Name, err)
			}
			t.row(program.Name, threeDigits(f.fillTime.Seconds()), f.resident.spread(threeDigits), f.onDisk.spread(threeDigits), f.killed.spread(threeDigits),
				f.stopped.spread(threeDigits), f.leader.spread(threeDigits), f.firstRead.spread(threeDigits), f.residentAfter.spread(threeDigits), f.peakAfter.spread(threeDigits))
		}
		return fmt.Sprintf("%d keys with values of 256 B. Each member was killed and started again, then ended by SIGTERM and started "+
			"again; medians, in parentheses the lowest and the highest. Ready: the member has logged that it serves clients.\n\n", *keys) + t.String(), nil
	}
}

func measureRestarts(ctx context.Context, b *bench, program procs.Program, keys int) (f restartFigures, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, catchupTimeout, errors.New("the measurement took more than ten minutes"))
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
	f.fillTime = time.Since(begin)
	if err := awaitIdle(ctx, c); err != nil {
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
			list := ending.ready(&f)
			if m == leader {
				list = &f.leader
			}
			*list = append(*list, ready.Seconds())
			b.progress("%s: %s ready %v after %s", program.Name, m.Name, ready.Round(time.Millisecond), ending.name)
		}
	}
	return f, b.endClusters()
}

// leaderLast returns the members with the leader at the end, so that the others are measured as
// followers.
func leaderLast(ctx context.Context, c *procs.Cluster) ([]*procs.Member, error) {
	leader, err := c.Leader(ctx)
	if err != nil {
		return nil, err
	}
	order := slices.DeleteFunc(slices.Clone(c.Members), func(m *procs.Member) bool { return m == leader })
	return append(order, leader), nil
}

// measureRestart starts a member and checks that it has all keys.
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
	f.peakAfter = append(f.peakAfter, float64(usage.PeakBytes)/(1<<20))
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
		err = fmt.Errorf("the member has %d of %d keys", counted.Count, keys)
	}
	return ready, err
}

// directorySize returns the space on the disk of the files below a directory.
func directorySize(dir string) int64 {
	var sum int64
	_ = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			sum += diskBytes(path)
		}
		return nil // the file may have been removed meanwhile
	})
	return sum
}
