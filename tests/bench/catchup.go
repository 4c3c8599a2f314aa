package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/troupe-raft/troupe/tests/procs"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// A follower is killed, a gibibyte is written without it, it is started again while the writing
// goes on: how long until it has what was written while it was down, and what its lag costs the
// leader in memory.
const (
	catchupValue = 32 << 10
	// Written over and over: the live data stays small, the log and the history do not
	catchupKeys    = 1024
	catchupWriters = 8
	catchupTime    = 10 * time.Minute // for one server, all in all
)

type catchupFigures struct {
	written                        int64
	writing, catching              time.Duration
	rateMeanwhile                  float64 // MiB/s, while the follower caught up
	leaderBefore, leaderDown       uint64  // resident at the start, most while the follower was down
	leaderCatching, followerAtMost uint64  // most while it caught up
}

func catchupMode(flags *flag.FlagSet) func(context.Context, *bench) (string, error) {
	size := flags.Int64("bytes", 1<<30, "how much is written while the follower is down")
	return func(ctx context.Context, b *bench) (string, error) {
		if b.quick {
			*size = min(*size, 32<<20)
		}
		t := table{head: []string{"server", "written MiB", "writing s", "caught up s", "MiB/s meanwhile", "leader RSS MiB: before",
			"while down, most", "while catching up, most", "follower RSS MiB, most"}}
		for _, program := range b.programs {
			f, err := measureCatchup(ctx, b, program, *size)
			if err != nil {
				return "", fmt.Errorf("%s: %w", program.Name, err)
			}
			mib := func(v uint64) string { return threeDigits(float64(v) / (1 << 20)) }
			t.row(program.Name, mib(uint64(f.written)), threeDigits(f.writing.Seconds()), threeDigits(f.catching.Seconds()), threeDigits(f.rateMeanwhile),
				mib(f.leaderBefore), mib(f.leaderDown), mib(f.leaderCatching), mib(f.followerAtMost))
		}
		return "A follower was killed, and started again after this much was written without it (values of 32 KiB, 8 writers); " +
			"writes went on. Caught up: it shows every write that was acknowledged before its restart.\n\n" + t.String(), nil
	}
}

func measureCatchup(ctx context.Context, b *bench, program procs.Program, size int64) (f catchupFigures, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, catchupTime, errors.New("it took more than ten minutes"))
	defer cancel()
	c, err := b.startCluster(ctx, program, "catchup")
	if err != nil {
		return f, err
	}
	leader, err := c.Leader(ctx)
	if err != nil {
		return f, err
	}
	follower := c.Members[0]
	if follower == leader {
		follower = c.Members[1]
	}
	if f.leaderBefore, err = residentBytes(leader); err != nil {
		return f, err
	}
	if err := follower.Kill(); err != nil {
		return f, err
	}
	b.progress("%s: follower killed, writing %d MiB", program.Name, size>>20)

	down := peakMemory(leader)
	begin := time.Now()
	target, err := writeBytes(ctx, leader, size)
	f.leaderDown = down()
	if err != nil {
		return f, err
	}
	f.written, f.writing = size, time.Since(begin)

	if err := f.restartFollower(ctx, leader, follower, target); err != nil {
		return f, err
	}
	b.progress("%s: caught up after %v", program.Name, f.catching.Round(time.Millisecond))
	return f, b.endClusters()
}

// restartFollower starts the follower while writing goes on and waits until it shows the target
// revision.
func (f *catchupFigures) restartFollower(ctx context.Context, leader, follower *procs.Member, target int64) error {
	writingCtx, stopWriting := context.WithCancel(ctx)
	defer stopWriting()
	var writer sync.WaitGroup
	var more int64 // revisions written meanwhile
	writer.Go(func() {
		last, _ := writeBytes(writingCtx, leader, 1<<50)
		more = last - target
	})
	begin := time.Now()
	if err := follower.Launch(); err != nil {
		return err
	}
	ofLeader, ofFollower := peakMemory(leader), peakMemory(follower)
	err := awaitRevision(ctx, follower, target)
	f.catching = time.Since(begin)
	f.leaderCatching, f.followerAtMost = ofLeader(), ofFollower()
	stopWriting()
	writer.Wait()
	f.rateMeanwhile = float64(more) * catchupValue / (1 << 20) / f.catching.Seconds()
	return err
}

// writeBytes puts values until so many bytes were acknowledged or ctx ends; it returns the highest
// revision seen.
func writeBytes(ctx context.Context, leader *procs.Member, size int64) (int64, error) {
	client, err := procs.Dial(leader.Endpoint())
	if err != nil {
		return 0, err
	}
	defer client.Close()
	var value strings.Builder
	for i := uint64(0); value.Len() < catchupValue; i++ {
		value.WriteString(randomValue(i, 0))
	}
	var (
		mu       sync.Mutex
		left     = size
		highest  int64
		failures error
		writers  sync.WaitGroup
	)
	take := func() (int64, bool) {
		mu.Lock()
		defer mu.Unlock()
		left -= catchupValue
		return left / catchupValue, left >= 0 && failures == nil
	}
	for range catchupWriters {
		writers.Go(func() {
			for n, ok := take(); ok && ctx.Err() == nil; n, ok = take() {
				response, err := client.Put(ctx, fmt.Sprintf("catchup/%d", n%catchupKeys), value.String())
				mu.Lock()
				if err == nil {
					highest = max(highest, response.Header.Revision)
				} else if ctx.Err() == nil {
					failures = err
				}
				mu.Unlock()
			}
		})
	}
	writers.Wait()
	return highest, failures
}

const pollEvery = 20 * time.Millisecond

// awaitRevision waits until a member shows a revision in what it has itself.
func awaitRevision(ctx context.Context, m *procs.Member, revision int64) error {
	client, err := procs.Dial(m.Endpoint())
	if err != nil {
		return err
	}
	defer client.Close()
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	for {
		asking, cancel := context.WithTimeout(ctx, time.Second)
		response, err := client.Get(asking, "catchup/0", clientv3.WithSerializable(), clientv3.WithKeysOnly())
		cancel()
		if err == nil && response.Header.Revision >= revision {
			return nil
		}
		select {
		case <-poll.C:
		case <-m.Process().Ended():
			return fmt.Errorf("member %s ended while catching up:\n%s", m.Name, m.Process().Output())
		case <-ctx.Done():
			return fmt.Errorf("waiting for revision %d at %s: %w (last answer: %v)", revision, m.Name, context.Cause(ctx), err)
		}
	}
}

func residentBytes(m *procs.Member) (uint64, error) {
	u, err := m.Process().Usage()
	return u.ResidentBytes, err
}

// peakMemory reads a member's memory all the time; the returned function ends that and tells the
// most.
func peakMemory(m *procs.Member) func() uint64 {
	stop, most := make(chan struct{}), make(chan uint64)
	go func() {
		poll := time.NewTicker(pollEvery)
		defer poll.Stop()
		var highest uint64
		for {
			if resident, err := residentBytes(m); err == nil {
				highest = max(highest, resident)
			}
			select {
			case <-poll.C:
			case <-stop:
				most <- highest
				return
			}
		}
	}()
	return func() uint64 {
		close(stop)
		return <-most
	}
}
