package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/google/pprof/profile"
	"github.com/troupe-raft/troupe/tests/procs"
)

// The mode stages measures the CPU of a put by stage, with profiles of the leader and of a follower
// while 1000 clients put. It measures Troupe only, because the stages are its packages.

// stages are the stages of a put. A sample of a profile belongs to the first stage of which its
// stack contains a name: the functions that an actor calls count for the actor, except those of the
// session, which run on the Machine's goroutine.
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

const otherStage = "other"

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
	return otherStage
}

func stagesMode(flags *flag.FlagSet) func(context.Context, *bench) (string, error) {
	seconds := flags.Int("seconds", 8, "duration of the profiles in seconds")
	return func(ctx context.Context, b *bench) (string, error) {
		if b.quick {
			*seconds = min(*seconds, 2)
		}
		for _, program := range b.programs {
			if program.Name == "troupe" {
				return stagesOf(ctx, b, program, *seconds)
			}
		}
		return "", errors.New("-servers: this mode measures troupe only; add it")
	}
}

func stagesOf(ctx context.Context, b *bench, program procs.Program, seconds int) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, sampleTimeout, errors.New("the measurement took more than two minutes"))
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
	// The load has more puts than the profiles take time for, and is ended after them.
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

// profileBoth takes both profiles at the same time and returns the report.
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
	if err := warmUp(applied); err != nil {
		return "", err
	}
	b.progress("profiling %s, the leader, and %s for %d s", leader.Name, follower.Name, seconds)
	before, err := applied()
	if err != nil {
		return "", err
	}
	var ofLeader, ofFollower map[string]float64
	var leaderErr, followerErr error
	var profiles sync.WaitGroup
	profiles.Go(func() { ofLeader, leaderErr = profileOf(ctx, leader, seconds) })
	profiles.Go(func() { ofFollower, followerErr = profileOf(ctx, follower, seconds) })
	profiles.Wait()
	if err := errors.Join(leaderErr, followerErr); err != nil {
		return "", err
	}
	after, err := applied()
	if err != nil {
		return "", err
	}
	return stagesReport(ofLeader, ofFollower, float64(after-before), seconds), nil
}

// warmUp waits until connections, caches and heap are warm: for 20,000 applied entries.
func warmUp(applied func() (uint64, error)) error {
	begin, err := applied()
	for now := begin; err == nil && now-begin <= 20_000; {
		now, err = applied()
	}
	return err
}

// stagesReport returns the table of microseconds for each put, by stage.
func stagesReport(ofLeader, ofFollower map[string]float64, puts float64, seconds int) string {
	t := table{head: []string{"stage", "leader µs a put", "follower µs a put"}}
	names := make([]string, 0, len(stages)+1)
	for _, stage := range stages {
		names = append(names, stage.name)
	}
	var leaderSum, followerSum float64
	for _, name := range append(names, otherStage) {
		l, f := ofLeader[name]/puts, ofFollower[name]/puts
		leaderSum, followerSum = leaderSum+l, followerSum+f
		t.row(name, fmt.Sprintf("%.2f", l), fmt.Sprintf("%.2f", f))
	}
	t.row("all", fmt.Sprintf("%.2f", leaderSum), fmt.Sprintf("%.2f", followerSum))
	return fmt.Sprintf("CPU by stage while 1000 clients over 100 connections to all members put 256 B: profiles of %d s, %.0f puts a second. "+
		"Each member serves a third of the clients; a put costs the cluster one leader's and two followers' columns.\n\n",
		seconds, puts/float64(seconds)) + t.String()
}

// profileOf returns the CPU of a member by stage, in microseconds.
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
