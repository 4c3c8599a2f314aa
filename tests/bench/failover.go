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

// Failover is measured by an open loop of puts (procs.ProbeWrites), and told as
//
//	next write   from the loss to the first success of a put that began after it
//	first call   from the loss to the response to the first put, which is not retried
//	errors       puts at the other members that failed before their deadline

// losses are the ways in which a leader goes.
type failureKind struct {
	name   string
	strike func(*procs.Member) error
	revive func(context.Context, *procs.Member) error
}

var losses = []failureKind{
	{"killed (kill -9)", (*procs.Member).Kill, func(ctx context.Context, m *procs.Member) error { return m.Start(ctx) }},
	{"vanished silently (SIGSTOP)", (*procs.Member).Pause, func(_ context.Context, m *procs.Member) error { return m.Resume() }},
}

// outcome of one loss, as seen by the clients of the survivors, and by one that was given all
// members.
type outcome struct {
	nextWrite, firstCall time.Duration
	errors               int
	anyError             string
	nextWriteOfAll       time.Duration
}

func failoverMode(flags *flag.FlagSet) func(context.Context, *bench) (string, error) {
	kills := flags.Int("kills", 20, "how often the leader is lost, of each kind of loss")
	return func(ctx context.Context, b *bench) (string, error) {
		if b.quick {
			*kills = min(*kills, 2)
		}
		t := table{head: []string{"leader", "server", "next write ms: median", "max", "first call ms: median", "max",
			"errors at survivors", "next write of a client of all members ms: median", "max", "losses"}}
		seenErrors := make(map[string]string)
		for _, l := range losses {
			for _, program := range b.programs {
				outcomes, err := failLeaders(ctx, b, program, l, *kills)
				if err != nil {
					return "", fmt.Errorf("%s, leader %s: %w", program.Name, l.name, err)
				}
				failoverRow(&t, l, program, outcomes, seenErrors)
			}
		}
		var s strings.Builder
		s.WriteString("From the loss of the leader to the first success of a put that began after it, by clients connected to the " +
			"surviving members (a put every 5 ms, each with a deadline of 10 s), and by one client that was given all three.\n\n")
		s.WriteString(t.String())
		for _, p := range b.programs {
			if text, ok := seenErrors[p.Name]; ok {
				fmt.Fprintf(&s, "\nAn error of %s: `%s`\n", p.Name, text)
			}
		}
		return s.String(), nil
	}
}

func failoverRow(t *table, l failureKind, program procs.Program, outcomes []outcome, seenErrors map[string]string) {
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
	t.row(l.name, program.Name, threeDigits(next.median()), threeDigits(next.max()), threeDigits(first.median()), threeDigits(first.max()),
		fmt.Sprint(failed), threeDigits(ofAll.median()), threeDigits(ofAll.max()), fmt.Sprint(len(outcomes)))
}

func failLeaders(ctx context.Context, b *bench, program procs.Program, l failureKind, times int) ([]outcome, error) {
	c, err := b.startCluster(ctx, program, "failover")
	if err != nil {
		return nil, err
	}
	var outcomes []outcome
	for i := range times {
		o, err := failLeader(ctx, c, l)
		if err != nil {
			return nil, err
		}
		b.progress("%s, leader %s, %d of %d: next write after %v, first call %v, %d errors; with all members %v",
			program.Name, l.name, i+1, times, o.nextWrite.Round(time.Millisecond), o.firstCall.Round(time.Millisecond), o.errors,
			o.nextWriteOfAll.Round(time.Millisecond))
		outcomes = append(outcomes, o)
	}
	return outcomes, b.endClusters()
}

func failLeader(ctx context.Context, c *procs.Cluster, l failureKind) (outcome, error) {
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
	ofSurvivors, err := dialEach(ctx, survivors)
	if err != nil {
		return outcome{}, err
	}
	defer closeAll(ofSurvivors)
	ofAll, err := procs.Dial(c.Endpoints()...)
	if err != nil {
		return outcome{}, err
	}
	defer ofAll.Close()
	if _, err := ofAll.Put(ctx, "failover/before", "v"); err != nil {
		return outcome{}, err
	}

	if err := l.strike(leader); err != nil {
		return outcome{}, err
	}
	lost := time.Now()
	var bySurvivors, byAll procs.Attempts
	var probes sync.WaitGroup
	probes.Go(func() { bySurvivors = procs.ProbeWrites(ctx, ofSurvivors...) })
	probes.Go(func() { byAll = procs.ProbeWrites(ctx, ofAll) })
	probes.Wait()

	if err := l.revive(ctx, leader); err != nil {
		return outcome{}, err
	}
	if _, err := c.Leader(ctx); err != nil {
		return outcome{}, err
	}
	return newOutcome(lost, bySurvivors, byAll)
}

func dialEach(ctx context.Context, members []*procs.Member) ([]*clientv3.Client, error) {
	var clients []*clientv3.Client
	for _, m := range members {
		client, err := procs.Dial(m.Endpoint())
		if err == nil {
			_, err = client.Get(ctx, "failover/connected") // the connection is up before the leader goes
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

func newOutcome(lost time.Time, as, ofAll procs.Attempts) (outcome, error) {
	next, ok := as.FirstSuccess()
	nextOfAll, okOfAll := ofAll.FirstSuccess()
	if !ok || !okOfAll {
		return outcome{}, fmt.Errorf("no put succeeded: %w", errors.Join(as[0].Err, ofAll[0].Err))
	}
	o := outcome{
		nextWrite:      next.Sub(lost),
		firstCall:      as[0].Ended.Sub(lost),
		nextWriteOfAll: nextOfAll.Sub(lost),
	}
	failed := as.Failed()
	if o.errors = len(failed); o.errors > 0 {
		o.anyError = failed[0].Err.Error()
	}
	return o, nil
}
