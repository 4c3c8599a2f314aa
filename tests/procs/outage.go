package procs

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// The time without writes is measured in an open loop: after the loss of a leader a put begins
// every attemptInterval, each with a deadline far longer than a failover. Clients that retry after
// a timeout would measure their timeout.
const (
	attemptInterval = 5 * time.Millisecond
	attemptDeadline = 10 * time.Second
	// attemptsAfter is the number of puts after the first success. They show whether writes fail
	// again.
	attemptsAfter = 20
)

// Attempt is one put.
type Attempt struct {
	Began, Ended time.Time
	Err          error
}

// Attempts are in the order in which they began.
type Attempts []Attempt

// ProbeWrites begins a put every 5 ms, with the clients in turn, until 20 puts have begun after the
// first success. It returns when all puts have ended.
func ProbeWrites(ctx context.Context, clients ...*clientv3.Client) Attempts {
	var (
		mu   sync.Mutex
		done Attempts
		open sync.WaitGroup
	)
	succeeded := make(chan struct{})
	var once sync.Once
	put := func(client *clientv3.Client, key string) {
		ctx, cancel := context.WithTimeout(ctx, attemptDeadline)
		defer cancel()
		a := Attempt{Began: time.Now()}
		_, a.Err = client.Put(ctx, key, "v")
		a.Ended = time.Now()
		if a.Err == nil {
			once.Do(func() { close(succeeded) })
		}
		mu.Lock()
		done = append(done, a)
		mu.Unlock()
	}
	ticker := time.NewTicker(attemptInterval)
	defer ticker.Stop()
	giveUp := time.After(2 * attemptDeadline)
	for i, more := 0, attemptsAfter; more > 0; i++ {
		client, key := clients[i%len(clients)], fmt.Sprintf("probe/%d", i%100)
		open.Go(func() { put(client, key) })
		select {
		case <-ticker.C:
		case <-giveUp:
			more = 0
		case <-ctx.Done():
			more = 0
		}
		select {
		case <-succeeded:
			more--
		default:
		}
	}
	open.Wait()
	slices.SortFunc(done, func(a, b Attempt) int { return a.Began.Compare(b.Began) })
	return done
}

// FirstSuccess returns the time at which the first put was acknowledged.
func (as Attempts) FirstSuccess() (time.Time, bool) {
	var first time.Time
	for _, a := range as {
		if a.Err == nil && (first.IsZero() || a.Ended.Before(first)) {
			first = a.Ended
		}
	}
	return first, !first.IsZero()
}

// Failed returns the attempts that ended with an error.
func (as Attempts) Failed() Attempts {
	return slices.DeleteFunc(slices.Clone(as), func(a Attempt) bool { return a.Err == nil })
}
