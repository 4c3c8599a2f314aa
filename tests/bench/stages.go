package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/google/pprof/profile"
	"github.com/troupe-raft/troupe/tests/procs"
)

// Where a put's CPU goes, by stage: profiles of the leader and of a follower while 1000 clients
// put. Of Troupe only, whose stages are packages.

// stage is a part of the way of a put. A sample belongs to the first stage that any function of its
// stack names: what an actor calls counts for the actor, but for the session's part, which runs on
// the Machine's goroutine.
var stages = []struct {
	name  string
	names []string
}{
	{"session (number, wait, wake)", []string{"internal/session.", "troupe.(*Node)"}},
	{"apply (Machine, store, engine's memtable)", []string{"actors/machine.", "kv/mvcc."}},
	{"log (LogStore, write, sync)", []string{"actors/logstore.", "troupe/persistence."}},
	{"Replicator", []string{"actors/replicator."}},
	{"Node", []string{"actors/node."}},
	{"link (queue, gRPC to peers)", []string{"actors/live/link.", "transport.(*http2Client)", "transport.NewHTTP2Client"}},
	{"engine in the background (flush, compaction)", []string{"cockroachdb/pebble"}},
	{"etcd services (check, encode)", []string{"troupe/kv.", "troupe/kv/watch."}},
	{"gRPC (API; what peers send, too)", []string{"google.golang.org/grpc"}},
	{"garbage collection", []string{"runtime.gcBgMarkWorker", "runtime.bgsweep", "runtime.bgscavenge"}},
	{"scheduler and the rest of the runtime", []string{"runtime."}},
}

const other = "other"

func stageOf(s *profile.Sample) string {
	for _, stage := range stages {
		for _, location := range s.Location {
			for _, line := range location.Line {
				for _, name := range stage.names {
					if strings.Contains(line.Function.Name, name) {
						return stage.name
					}
				}
			}
		}
	}
	return other
}

func stagesMode(flags *flag.FlagSet) func(context.Context, *bench) (string, error) {
	seconds := flags.Int("seconds", 8, "how long the profiles are")
	return func(ctx context.Context, b *bench) (string, error) {
		if b.quick {
			*seconds = min(*seconds, 2)
		}
		for _, program := range b.programs {
			if program.Name == "troupe" {
				return stagesOf(ctx, b, program, *seconds)
			}
		}
		return "", errors.New("-servers: the stages are those of troupe")
	}
}

func stagesOf(ctx context.Context, b *bench, program procs.Program, seconds int) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, sampleTime, errors.New("it took more than two minutes"))
	defer cancel()
	path, err := procs.LoadGenerator(ctx, b.work)
	if err != nil {
		return "", err
	}
	c, err := b.startCluster(ctx, program, "stages", "--enable-pprof")
	if err != nil {
		return "", err
	}
	leader, err := c.Leader(ctx)
	if err != nil {
		return "", err
	}
	follower := c.Members[0]
	if follower == leader {
		follower = c.Members[1]
	}
	// More puts than the profiles can see: the load is ended with them.
	loadCtx, endLoad := context.WithCancel(ctx)
	defer endLoad()
	load := make(chan error, 1)
	go func() {
		g := loadGenerator{path: path}
		_, err := toolPut(1000, 100, 100_000*(seconds+5))(loadCtx, &g, &filledCluster{Cluster: c}, 1)
		load <- err
	}()
	profiled, err := profileBoth(ctx, b, leader, follower, seconds)
	endLoad()
	if loadErr := <-load; err == nil && !errors.Is(loadErr, context.Canceled) && loadErr != nil {
		err = loadErr
	}
	if err != nil {
		return "", err
	}
	return profiled + "\n", b.endClusters()
}

// profileBoth profiles both members at the same time, and returns a table by put.
func profileBoth(ctx context.Context, b *bench, leader, follower *procs.Member, seconds int) (string, error) {
	client, err := procs.Dial(leader.Endpoint())
	if err != nil {
		return "", err
	}
	defer client.Close()
	applied := func() (uint64, error) {
		s, err := client.Status(ctx, leader.Endpoint())
		if err != nil {
			return 0, err
		}
		return s.RaftAppliedIndex, nil
	}
	// Warm: connections, caches, heap.
	for begin, _ := applied(); ; {
		now, err := applied()
		if err != nil {
			return "", err
		}
		if now-begin > 20_000 {
			break
		}
	}
	b.progress("profiling %s, the leader, and %s for %d s", leader.Name, follower.Name, seconds)
	before, err := applied()
	if err != nil {
		return "", err
	}
	type result struct {
		micros map[string]float64
		err    error
	}
	results := make(map[*procs.Member]chan result)
	for _, m := range []*procs.Member{leader, follower} {
		results[m] = make(chan result, 1)
		go func() {
			micros, err := profileOf(ctx, m, seconds)
			results[m] <- result{micros, err}
		}()
	}
	atLeader, atFollower := <-results[leader], <-results[follower]
	if err := errors.Join(atLeader.err, atFollower.err); err != nil {
		return "", err
	}
	after, err := applied()
	if err != nil {
		return "", err
	}
	return stageTable(atLeader.micros, atFollower.micros, float64(after-before), seconds), nil
}

// stageTable tabulates the CPU time of a put by stage, from profiles over the given seconds.
func stageTable(atLeader, atFollower map[string]float64, puts float64, seconds int) string {
	t := table{head: []string{"stage", "leader µs a put", "follower µs a put"}}
	var sums [2]float64
	names := make([]string, 0, len(stages)+1)
	for _, stage := range stages {
		names = append(names, stage.name)
	}
	for _, name := range append(names, other) {
		l, f := atLeader[name]/puts, atFollower[name]/puts
		sums[0], sums[1] = sums[0]+l, sums[1]+f
		t.row(name, fmt.Sprintf("%.2f", l), fmt.Sprintf("%.2f", f))
	}
	t.row("all", fmt.Sprintf("%.2f", sums[0]), fmt.Sprintf("%.2f", sums[1]))
	return fmt.Sprintf("CPU by stage while 1000 clients over 100 connections to all members put 256 B: profiles of %d s, %.0f puts a second. "+
		"Each member serves a third of the clients; a put costs the cluster one leader's and two followers' columns.\n\n",
		seconds, puts/float64(seconds)) + t.String()
}

// profileOf is the CPU of a member by stage, in microseconds.
func profileOf(ctx context.Context, m *procs.Member, seconds int) (map[string]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(seconds+30)*time.Second)
	defer cancel()
	url := fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", strings.TrimPrefix(m.Endpoint(), "http://"), seconds)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(response.Body, 1<<10))
		return nil, fmt.Errorf("%s: %s: %s", url, response.Status, body)
	}
	p, err := profile.Parse(response.Body)
	if err != nil {
		return nil, err
	}
	micros := make(map[string]float64)
	for _, s := range p.Sample {
		micros[stageOf(s)] += float64(s.Value[len(s.Value)-1]) / 1000
	}
	return micros, nil
}
