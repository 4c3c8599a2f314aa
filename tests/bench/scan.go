package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/troupe-raft/troupe/tests/procs"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// scan is a linearizable range over all keys of the data set, with a limit or for the count only,
// as Kubernetes sends it for every page. Such a run must be limited in time, because etcd takes a
// hundred times longer for a million keys than for ten thousand, and the tool cannot do that. So
// one client of the benchmark sends one request after the other.
type scan struct {
	limit     int64
	countOnly bool
	past      bool // at the revision at which the data set was complete, not at the newest
}

// scanTime is the duration of a full run.
const scanTime = 3 * time.Second

func (s scan) run(ctx context.Context, _ *loadGenerator, c *filledCluster, scale float64) (clientFigures, error) {
	endpoints, err := leaderFirst(ctx, c.Cluster)
	if err != nil {
		return clientFigures{}, err
	}
	client, err := procs.Dial(endpoints[0])
	if err != nil {
		return clientFigures{}, err
	}
	defer client.Close()
	var latencies []time.Duration
	begin := time.Now()
	end := begin.Add(time.Duration(float64(scanTime) * scale))
	for len(latencies) < 5 || time.Now().Before(end) {
		sent := time.Now()
		response, err := client.Get(ctx, fillPrefix, s.options(c)...)
		latencies = append(latencies, time.Since(sent))
		if err != nil {
			return clientFigures{}, err
		}
		if err := s.check(response, c.data); err != nil {
			return clientFigures{}, err
		}
	}
	elapsed := time.Since(begin)
	slices.Sort(latencies)
	return clientFigures{
		requests: len(latencies),
		elapsed:  elapsed,
		p50:      latencies[len(latencies)/2],
		p99:      latencies[len(latencies)*99/100],
	}, nil
}

func (s scan) options(c *filledCluster) []clientv3.OpOption {
	options := []clientv3.OpOption{clientv3.WithPrefix()}
	if s.limit > 0 {
		options = append(options, clientv3.WithLimit(s.limit))
	}
	if s.countOnly {
		options = append(options, clientv3.WithCountOnly())
	}
	if s.past {
		options = append(options, clientv3.WithRev(c.past))
	}
	return options
}

// check checks the numbers in a response.
func (s scan) check(response *clientv3.GetResponse, data dataSet) error {
	if response.Count != int64(data) || len(response.Kvs) != int(s.limit) {
		return fmt.Errorf("%d keys returned, count %d; want %d keys, count %d", len(response.Kvs), response.Count, s.limit, int(data))
	}
	return nil
}

const (
	fillPrefix  = "fill/"
	fillTxnSize = 100
	fillWriters = 8
	// fillChanges is the number of keys that are overwritten after the data set was complete, so that
	// a past revision differs from the newest.
	fillChanges = 1000
)

// fill puts a data set into a cluster in transactions of a hundred puts: the keys fill/00000000 and
// so on, with values that cannot be compressed and are the same for every server.
func fill(ctx context.Context, c *procs.Cluster, data dataSet) (*filledCluster, error) {
	if data == 0 {
		return &filledCluster{Cluster: c}, nil
	}
	if err := fillKeys(ctx, c, 0, int(data), 1); err != nil {
		return nil, fmt.Errorf("filling with %v keys: %w", data, err)
	}
	client, err := procs.Dial(c.Endpoints()...)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	complete, err := client.Get(ctx, fillPrefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		return nil, err
	}
	if err := fillKeys(ctx, c, 0, min(fillChanges, int(data)), 2); err != nil {
		return nil, fmt.Errorf("changing some keys: %w", err)
	}
	return &filledCluster{Cluster: c, data: data, past: complete.Header.Revision}, nil
}

// fillKeys puts the keys from first up to but without end, with several writers to all members.
func fillKeys(ctx context.Context, c *procs.Cluster, first, end int, version uint64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	starts := make(chan int)
	failures := make(chan error, fillWriters)
	var writers sync.WaitGroup
	for i := range fillWriters {
		writers.Go(func() {
			if err := fillFrom(ctx, c.Members[i%len(c.Members)].Endpoint(), starts, end, version); err != nil {
				failures <- err
				cancel()
			}
		})
	}
	for start := first; start < end && ctx.Err() == nil; start += fillTxnSize {
		select {
		case starts <- start:
		case <-ctx.Done():
		}
	}
	close(starts)
	writers.Wait()
	close(failures)
	var errs []error
	for err := range failures {
		errs = append(errs, err)
	}
	return errors.Join(append(errs, context.Cause(ctx))...)
}

func fillFrom(ctx context.Context, endpoint string, starts <-chan int, end int, version uint64) error {
	client, err := procs.Dial(endpoint)
	if err != nil {
		return err
	}
	defer client.Close()
	for start := range starts {
		var puts []clientv3.Op
		for k := start; k < min(start+fillTxnSize, end); k++ {
			puts = append(puts, clientv3.OpPut(fmt.Sprintf("%s%08d", fillPrefix, k), randomValue(uint64(k), version)))
		}
		if _, err := client.Txn(ctx).Then(puts...).Commit(); err != nil {
			return err
		}
	}
	return nil
}

// randomValue returns a value of valueSize bytes that cannot be compressed. It depends on key and
// version alone.
func randomValue(key, version uint64) string {
	source := rand.NewPCG(key, version)
	value := make([]byte, 0, valueSize)
	for len(value) < valueSize {
		n := source.Uint64()
		for range 8 {
			value = append(value, byte(n))
			n >>= 8
		}
	}
	return string(value)
}
