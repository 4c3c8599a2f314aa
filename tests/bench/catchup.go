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

// The mode catchup kills a follower, writes a gibibyte, and starts the follower again while the
// writes continue. It measures the time until the follower has applied what was written while it
// was down, and the memory of the leader and the follower.
const (
	catchupValueBytes = 32 << 10
	// The keys are overwritten, so that the live data stays small while the log and the history grow.
	catchupKeys    = 1024
	catchupWriters = 8
	catchupTimeout = 10 * time.Minute // of one server
)

type catchupFigures struct {
	written                int64 // bytes
	writeTime, catchupTime time.Duration
	catchupRate            float64 // MiB/s of the writers while the follower caught up
	// Resident bytes: of the leader before the kill, and the largest values while the follower was
	// down and while it caught up.
	leaderBefore, leaderDown, leaderCatchup uint64
	followerCatchup                         uint64
}

func catchupMode(flags *flag.FlagSet) func(context.Context, *bench) (string, error) {
	size := flags.Int64("bytes", 1<<30, "bytes to write while the follower is down")
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
			t.row(program.Name, mib(uint64(f.written)), threeDigits(f.writeTime.Seconds()), threeDigits(f.catchupTime.Seconds()), threeDigits(f.catchupRate),
				mib(f.leaderBefore), mib(f.leaderDown), mib(f.leaderCatchup), mib(f.followerCatchup))
		}
		return "A follower was killed, and started again after this much was written without it (values of 32 KiB, 8 writers); " +
			"writes continued. Caught up: the follower has applied every write that was acknowledged before its restart.\n\n" + t.String(), nil
	}
}

func measureCatchup(ctx context.Context, b *bench, program procs.Program, size int64) (f catchupFigures, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, catchupTimeout, errors.New("the measurement took more than ten minutes"))
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

	peakWhileDown := peakMemory(leader)
	begin := time.Now()
	target, err := writeBytes(ctx, leader, size)
	f.leaderDown = peakWhileDown()
	if err != nil {
		return f, err
	}
	f.written, f.writeTime = size, time.Since(begin)

	if err := f.restartFollower(ctx, leader, follower, target); err != nil {
		return f, err
	}
	b.progress("%s: caught up after %v", program.Name, f.catchupTime.Round(time.Millisecond))
	return f, b.endClusters()
}

// restartFollower starts the follower while writes continue, and waits until the follower has
// applied the target revision.
func (f *catchupFigures) restartFollower(ctx context.Context, leader, follower *procs.Member, target int64) error {
	writingCtx, stopWriting := context.WithCancel(ctx)
	defer stopWriting()
	var writer sync.WaitGroup
	var revisions int64 // written while the follower catches up
	writer.Go(func() {
		last, _ := writeBytes(writingCtx, leader, 1<<50)
		revisions = last - target
	})
	begin := time.Now()
	if err := follower.Launch(); err != nil {
		return err
	}
	leaderPeak, followerPeak := peakMemory(leader), peakMemory(follower)
	err := awaitRevision(ctx, follower, target)
	f.catchupTime = time.Since(begin)
	f.leaderCatchup, f.followerCatchup = leaderPeak(), followerPeak()
	stopWriting()
	writer.Wait()
	f.catchupRate = float64(revisions) * catchupValueBytes / (1 << 20) / f.catchupTime.Seconds()
	return err
}

// writeBytes puts values until size bytes are acknowledged or ctx ends, and returns the highest
// revision of a response.
func writeBytes(ctx context.Context, leader *procs.Member, size int64) (int64, error) {
	client, err := procs.Dial(leader.Endpoint())
	if err != nil {
		return 0, err
	}
	defer client.Close()
	var value strings.Builder
	for i := uint64(0); value.Len() < catchupValueBytes; i++ {
		value.WriteString(randomValue(i, 0))
	}
	var (
		mu       sync.Mutex
		left     = size
		highest  int64
		failures error
		writers  sync.WaitGroup
	)
	nextWrite := func() (int64, bool) {
		mu.Lock()
		defer mu.Unlock()
		left -= catchupValueBytes
		return left / catchupValueBytes, left >= 0 && failures == nil
	}
	for range catchupWriters {
		writers.Go(func() {
			for n, ok := nextWrite(); ok && ctx.Err() == nil; n, ok = nextWrite() {
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

const pollInterval = 20 * time.Millisecond

// awaitRevision waits until a member has applied a revision.
func awaitRevision(ctx context.Context, m *procs.Member, revision int64) error {
	client, err := procs.Dial(m.Endpoint())
	if err != nil {
		return err
	}
	defer client.Close()
	poll := time.NewTicker(pollInterval)
	defer poll.Stop()
	for {
		getCtx, cancel := context.WithTimeout(ctx, time.Second)
		response, err := client.Get(getCtx, "catchup/0", clientv3.WithSerializable(), clientv3.WithKeysOnly())
		cancel()
		if err == nil && response.Header.Revision >= revision {
			return nil
		}
		select {
		case <-poll.C:
		case <-m.Process().Ended():
			return fmt.Errorf("member %s ended while catching up:\n%s", m.Name, m.Process().Output())
		case <-ctx.Done():
			return fmt.Errorf("waiting for revision %d at %s: %w (last error: %v)", revision, m.Name, context.Cause(ctx), err)
		}
	}
}

func residentBytes(m *procs.Member) (uint64, error) {
	u, err := m.Process().Usage()
	return u.ResidentBytes, err
}

// peakMemory samples the resident bytes of a member. The returned function stops that and returns
// the largest sample.
func peakMemory(m *procs.Member) func() uint64 {
	stop, result := make(chan struct{}), make(chan uint64)
	go func() {
		poll := time.NewTicker(pollInterval)
		defer poll.Stop()
		var highest uint64
		for {
			if resident, err := residentBytes(m); err == nil {
				highest = max(highest, resident)
			}
			select {
			case <-poll.C:
			case <-stop:
				result <- highest
				return
			}
		}
	}()
	return func() uint64 {
		close(stop)
		return <-result
	}
}
