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

// The mode failover measures an open loop of puts (procs.ProbeWrites). Its figures are
//
//	next write   from the loss to the first success of any put that began after it
//	first call   from the loss to the response to the first put: what a client without retries sees
//	errors       failed puts by clients of survivors, although their deadlines allow for the failover

// failureKind is a way in which a leader fails.
type failureKind struct {
	name   string
	fail   func(*procs.Member) error
	revive func(context.Context, *procs.Member) error
}

var failureKinds = []failureKind{
	{"killed (kill -9)", (*procs.Member).Kill, func(ctx context.Context, m *procs.Member) error { return m.Start(ctx) }},
	{"vanished silently (SIGSTOP)", (*procs.Member).Pause, func(_ context.Context, m *procs.Member) error { return m.Resume() }},
}

// outcome holds the figures of one loss, for clients of the survivors, and for one client with the
// endpoints of all members.
type outcome struct {
	nextWrite, firstCall time.Duration
	errors               int
	anyError             string
	nextWriteOfAll       time.Duration // of the client of all members
}

func failoverMode(flags *flag.FlagSet) func(context.Context, *bench) (string, error) {
	kills := flags.Int("kills", 20, "number of losses of the leader, of each kind")
	return func(ctx context.Context, b *bench) (string, error) {
		if b.quick {
			*kills = min(*kills, 2)
		}
		t := table{head: []string{"leader", "server", "next write ms: median", "max", "first call ms: median", "max",
			"errors at survivors", "next write of a client of all members ms: median", "max", "losses"}}
		seenErrors := make(map[string]string)
		for _, kind := range failureKinds {
			for _, program := range b.programs {
				outcomes, err := failLeaders(ctx, b, program, kind, *kills)
				if err != nil {
					return "", fmt.Errorf("%s, leader %s: %w", program.Name, kind.name, err)
				}
				failoverRow(&t, kind, program, outcomes, seenErrors)
			}
		}
		var s strings.Builder
		s.WriteString("From the loss of the leader to the first success of a put that began after it, by clients connected to the " +
			"surviving members (a put every 5 ms, each with a deadline of 10 s), and by one client with the endpoints of all three.\n\n")
		s.WriteString(t.String())
		for _, p := range b.programs {
			if text, ok := seenErrors[p.Name]; ok {
				fmt.Fprintf(&s, "\nAn error of %s: `%s`\n", p.Name, text)
			}
		}
		return s.String(), nil
	}
}

func failoverRow(t *table, kind failureKind, program procs.Program, outcomes []outcome, seenErrors map[string]string) {
	var next, first, ofAll values
	failed := 0
	for _, o := range outcomes {
		next = append(next, float64(o.nextWrite.Milliseconds()))
		first = append(first, float64(o.firstCall.Milliseconds()))
		ofAll = append(ofAll, float64(o.nextWriteOfAll.Milliseconds()))
		failed += o.errors
		if o.anyError != "" {
			seenErrors[program.Name] = o.anyError
		}
	}
	t.row(kind.name, program.Name, threeDigits(next.median()), threeDigits(next.max()), threeDigits(first.median()), threeDigits(first.max()),
		fmt.Sprint(failed), threeDigits(ofAll.median()), threeDigits(ofAll.max()), fmt.Sprint(len(outcomes)))
}

func failLeaders(ctx context.Context, b *bench, program procs.Program, kind failureKind, times int) ([]outcome, error) {
	c, err := b.startCluster(ctx, program, "failover")
	if err != nil {
		return nil, err
	}
	var outcomes []outcome
	for i := range times {
		o, err := failLeader(ctx, c, kind)
		if err != nil {
			return nil, err
		}
		b.progress("%s, leader %s, %d of %d: next write after %v, first call %v, %d errors; with all members %v",
			program.Name, kind.name, i+1, times, o.nextWrite.Round(time.Millisecond), o.firstCall.Round(time.Millisecond), o.errors,
			o.nextWriteOfAll.Round(time.Millisecond))
		outcomes = append(outcomes, o)
	}
	return outcomes, b.endClusters()
}

func failLeader(ctx context.Context, c *procs.Cluster, kind failureKind) (outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	leader, err := c.Leader(ctx)
	if err != nil {
		return outcome{}, err
	}
	var survivors []*procs.Member
	for _, m := range c.Members {
		if m != leader {
			survivors = append(survivors, m)
		}
	}
	survivorClients, err := dialEach(ctx, survivors)
	if err != nil {
		return outcome{}, err
	}
	defer closeAll(survivorClients)
	clusterClient, err := procs.Dial(c.Endpoints()...)
	if err != nil {
		return outcome{}, err
	}
	defer clusterClient.Close()
	if _, err := clusterClient.Put(ctx, "failover/before", "v"); err != nil {
		return outcome{}, err
	}

	if err := kind.fail(leader); err != nil {
		return outcome{}, err
	}
	lost := time.Now()
	var ofSurvivors, ofAll procs.Attempts
	var probes sync.WaitGroup
	probes.Go(func() { ofSurvivors = procs.ProbeWrites(ctx, survivorClients...) })
	probes.Go(func() { ofAll = procs.ProbeWrites(ctx, clusterClient) })
	probes.Wait()

	if err := kind.revive(ctx, leader); err != nil {
		return outcome{}, err
	}
	if _, err := c.Leader(ctx); err != nil {
		return outcome{}, err
	}
	return newOutcome(lost, ofSurvivors, ofAll)
}

func dialEach(ctx context.Context, members []*procs.Member) ([]*clientv3.Client, error) {
	var clients []*clientv3.Client
	for _, m := range members {
		client, err := procs.Dial(m.Endpoint())
		if err == nil {
			_, err = client.Get(ctx, "failover/connected") // connect before the leader fails
		}
		if err != nil {
			return nil, errors.Join(err, closeAll(clients))
		}
		clients = append(clients, client)
	}
	return clients, nil
}

func closeAll(clients []*clientv3.Client) error {
	var errs []error
	for _, client := range clients {
		errs = append(errs, client.Close())
	}
	return errors.Join(errs...)
}

func newOutcome(lost time.Time, ofSurvivors, ofAll procs.Attempts) (outcome, error) {
	next, ok := ofSurvivors.FirstSuccess()
	nextOfAll, okOfAll := ofAll.FirstSuccess()
	if !ok || !okOfAll {
		return outcome{}, fmt.Errorf("no put succeeded: %w", errors.Join(ofSurvivors[0].Err, ofAll[0].Err))
	}
	o := outcome{
		nextWrite:      next.Sub(lost),
		firstCall:      ofSurvivors[0].Ended.Sub(lost),
		nextWriteOfAll: nextOfAll.Sub(lost),
	}
	failed := ofSurvivors.Failed()
	if o.errors = len(failed); o.errors > 0 {
		o.anyError = failed[0].Err.Error()
	}
	return o, nil
}
