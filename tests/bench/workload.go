package main

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/troupe-raft/troupe/tests/procs"
)

// workload is one kind of load. It is the same for all servers: keys, values, order and number of
// requests.
type workload struct {
	name    string
	clients int
	conns   int
	// pairs is the minimal number of rounds. One client waits for single syncs and wake-ups, so that
	// two runs of the same binary differ by half, and a reliable ratio needs many rounds.
	pairs int
	// data is the data set of the cluster. All workloads of a data set run on the same clusters.
	data dataSet
	// run runs the load on a cluster and returns the figures of the client; scale shortens it.
	run func(ctx context.Context, g *loadGenerator, c *filledCluster, scale float64) (clientFigures, error)
}

// dataSet is the number of keys of a cluster before the load; 0 means an empty cluster.
type dataSet int

func (d dataSet) String() string {
	switch {
	case d >= 1_000_000:
		return fmt.Sprintf("%dM", d/1_000_000)
	case d >= 1000:
		return fmt.Sprintf("%dk", d/1000)
	default:
		return fmt.Sprint(int(d))
	}
}

// filledCluster is a cluster with its data set.
type filledCluster struct {
	*procs.Cluster
	data dataSet
	// past is the revision at which the data set was complete, before the last thousand changes; 0
	// for an empty one.
	past int64
}

// clientFigures are the figures of a client for one run.
type clientFigures struct {
	requests  int // successful ones
	failed    int
	failure   string // an error of one of the failed requests
	elapsed   time.Duration
	p50, p99  time.Duration
	clientCPU time.Duration // of the load generator; 0 if not known
}

const (
	valueSize = 256
	// keySpace is the number of keys of the puts, in turn (the tool's --sequential-keys).
	keySpace = 100_000
)

// workloads returns the workloads in the order of their runs. Their numbers of requests take etcd
// about two to six seconds on two cores.
func workloads() []workload {
	var all []workload
	for _, w := range []struct{ clients, conns, puts, ranges int }{
		{1, 1, 3_000, 8_000}, {100, 10, 30_000, 60_000}, {1000, 100, 60_000, 80_000},
	} {
		pairs := 1
		if w.clients == 1 {
			pairs = 11
		}
		all = append(all, workload{name: fmt.Sprintf("put-%d", w.clients), clients: w.clients, conns: w.conns, pairs: pairs,
			run: toolPut(w.clients, w.conns, w.puts)})
		for _, consistency := range []string{"linearizable", "serializable"} {
			all = append(all, workload{name: fmt.Sprintf("range-%s-%d", consistency, w.clients), clients: w.clients,
				conns: w.conns, pairs: pairs, run: toolRange(consistency, w.clients, w.conns, w.ranges)})
		}
	}
	// All puts first, then the ranges.
	slices.SortStableFunc(all, func(a, b workload) int { return strings.Compare(a.kind(), b.kind()) })
	for _, data := range []dataSet{100_000, 1_000_000} {
		for _, limit := range []int64{1, 100, 1000} {
			all = append(all, wideRange(data, fmt.Sprintf("limit%d", limit), scan{limit: limit}))
		}
		all = append(all,
			wideRange(data, "count", scan{countOnly: true}),
			wideRange(data, "limit1-past", scan{limit: 1, past: true}),
			wideRange(data, "count-past", scan{countOnly: true, past: true}))
	}
	return all
}

func (w workload) kind() string {
	return w.name[:strings.LastIndexByte(w.name, '-')]
}

func wideRange(data dataSet, name string, s scan) workload {
	return workload{name: fmt.Sprintf("%s-of-%v", name, data), clients: 1, conns: 1, pairs: 1, data: data, run: s.run}
}

// selectWorkloads returns the workloads whose name matches one of the patterns of path.Match in
// choice, which have commas between them; all workloads if choice is empty.
func selectWorkloads(all []workload, choice string) ([]workload, error) {
	if choice == "" {
		return all, nil
	}
	var chosen []workload
	for _, w := range all {
		for pattern := range strings.SplitSeq(choice, ",") {
			matches, err := path.Match(pattern, w.name)
			if err != nil {
				return nil, fmt.Errorf("-workloads: %q: %w", pattern, err)
			}
			if matches {
				chosen = append(chosen, w)
				break
			}
		}
	}
	if len(chosen) > 0 {
		return chosen, nil
	}
	var names []string
	for _, w := range all {
		names = append(names, w.name)
	}
	return nil, fmt.Errorf("-workloads: %q matches no workload; there are %s", choice, strings.Join(names, ", "))
}
