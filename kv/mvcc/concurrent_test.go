package mvcc

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// In this workload every transaction moves one of many tokens from one key to another. So at each
// revision the number of keys, and the sum of their values, are the same; a reader that sees
// anything else has seen a state that never existed.
const (
	tokens   = 400
	holders  = 4000
	tokenFmt = "h%05d"
)

func tokenKey(i int) []byte { return fmt.Appendf(nil, tokenFmt, i) }

type tokenWorkload struct {
	*replica
	rnd    *rand.Rand
	at     []int        // the key of each token
	taken  map[int]bool // keys that hold a token
	stop   atomic.Bool
	errors chan error
}

func newTokenWorkload(t *testing.T, o Options) *tokenWorkload {
	g := &tokenWorkload{
		replica: openReplica(t, vfs.NewMem(), o), rnd: rand.New(rand.NewPCG(3, 4)), taken: map[int]bool{},
		errors: make(chan error, 100),
	}
	r := &pb.TxnRequest{}
	for i := range tokens {
		g.at, g.taken[i*7] = append(g.at, i*7), true
		r.Success = append(r.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: tokenKey(i * 7), Value: []byte("1")}}})
	}
	g.apply(must(EncodeTxn(r)))
	return g
}

// move makes the command that moves a token.
func (g *tokenWorkload) move() []byte {
	token := g.rnd.IntN(tokens)
	from, to := g.at[token], g.rnd.IntN(holders)
	for g.taken[to] {
		to = g.rnd.IntN(holders)
	}
	delete(g.taken, from)
	g.at[token], g.taken[to] = to, true
	return must(EncodeTxn(&pb.TxnRequest{Success: []*pb.RequestOp{
		{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: tokenKey(from)}}},
		{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: tokenKey(to), Value: []byte("1")}}},
	}}))
}

func (g *tokenWorkload) applyMoves(batches int) {
	for i := range batches {
		var commands [][]byte
		for range 1 + g.rnd.IntN(20) {
			commands = append(commands, g.move())
		}
		if i%20 == 19 {
			commands = append(commands, compact(g.s.Revision()-int64(g.rnd.IntN(50))))
		}
		g.apply(commands...)
	}
}

// checkView makes one random read and returns what is wrong.
func (g *tokenWorkload) checkView(rnd *rand.Rand) error {
	v := g.s.View()
	defer v.Release()
	ctx := context.Background()
	all := &pb.RangeRequest{Key: []byte("h"), RangeEnd: []byte("i")}
	if rnd.IntN(2) == 0 {
		all.Revision = max(v.Revision()-rnd.Int64N(60), 2)
	}
	switch rnd.IntN(4) {
	case 0:
		all.CountOnly = true
	case 1:
		all.Limit = 1 + rnd.Int64N(10)
	case 2:
		return g.checkChunks(ctx, v, all, tokenKey(rnd.IntN(holders)))
	}
	resp, err := v.Range(ctx, all)
	if errors.Is(err, ErrCompacted) && all.Revision < v.CompactRevision() {
		return nil
	}
	if err != nil || resp.Count != tokens || (all.Limit == 0 && !all.CountOnly && len(resp.Kvs) != tokens) {
		return fmt.Errorf("view of %d, request %v: %v, count %d, %d keys", v.Revision(), all, err, resp.GetCount(), len(resp.GetKvs()))
	}
	return nil
}

// checkChunks counts both sides of a key.
func (g *tokenWorkload) checkChunks(ctx context.Context, v *View, all *pb.RangeRequest, at []byte) error {
	left, err := v.Range(ctx, &pb.RangeRequest{Key: all.Key, RangeEnd: at, Revision: all.Revision, CountOnly: true})
	if errors.Is(err, ErrCompacted) && all.Revision < v.CompactRevision() {
		return nil
	}
	if err != nil {
		return err
	}
	right, err := v.Range(ctx, &pb.RangeRequest{Key: at, RangeEnd: all.RangeEnd, Revision: all.Revision, Limit: 1})
	if err != nil || left.Count+right.Count != tokens {
		return fmt.Errorf("view of %d, revision %d, divided at %s: %v, %d + %d keys", v.Revision(), all.Revision, at, err, left.Count, right.GetCount())
	}
	return nil
}

func TestConcurrentReadersSeeOnlyAppliedStates(t *testing.T) {
	batches := 300
	if testing.Short() {
		batches = 60
	}
	o := crashOptions
	g := newTokenWorkload(t, o)
	var readers sync.WaitGroup
	var looks atomic.Int64
	for i := range 3 {
		readers.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(i), 5))
			for again := true; again; again = !g.stop.Load() { // at least once
				if err := g.checkView(rnd); err != nil {
					g.errors <- err
					return
				}
				looks.Add(1)
			}
		})
	}
	readers.Go(func() {
		if err := g.checkHistory(); err != nil {
			g.errors <- err
		}
	})
	g.applyMoves(batches)
	g.stop.Store(true)
	readers.Wait()
	select {
	case err := <-g.errors:
		t.Fatal(err)
	default:
	}
	t.Logf("%d checks", looks.Load())
	g.checkCounts()
	g.close()
}

// checkHistory reads the history as a slow watcher does and replays it: the number of tokens must
// stay the same.
func (g *tokenWorkload) checkHistory() error {
	live := map[string]bool{}
	for next := int64(2); ; {
		done := g.stop.Load()
		v := g.s.View()
		events, after, err := v.Events(context.Background(), next, 0, []byte("h"), []byte("i"), true, 4096, 0)
		compacted := v.CompactRevision()
		v.Release()
		if errors.Is(err, ErrCompacted) && next < compacted {
			return nil // the reader was too slow, which is allowed
		}
		if err != nil {
			return err
		}
		for _, e := range events {
			key := string(e.Kv.Key)
			if e.Type == mvccpb.Event_DELETE {
				if !live[key] || (e.PrevKv == nil && e.Kv.ModRevision > compacted) {
					return fmt.Errorf("deleted a key that did not exist, or without its state before: %v", e)
				}
				delete(live, key)
			} else {
				live[key] = true
			}
		}
		if len(live) != tokens {
			return fmt.Errorf("%d tokens after the events up to %d", len(live), after-1)
		}
		if next = after; done && len(events) == 0 {
			return nil
		}
	}
}

func TestObserverMissesNothingAfterSetObserver(t *testing.T) {
	g := newTokenWorkload(t, crashOptions)
	defer g.close()
	var wait sync.WaitGroup
	wait.Go(func() {
		for range 50 {
			var observed []int64
			g.s.SetObserver(func(rev int64, _ []*Event) { observed = append(observed, rev) })
			v := g.s.View()
			since := v.Revision()
			v.Release()
			for g.s.Revision() < since+20 && !g.stop.Load() {
				g.s.SetWantPrev(true) // waits for the current batch
			}
			g.s.SetObserver(nil) // the observer does not run after this
			if len(observed) == 0 {
				continue
			}
			if first := observed[0]; first > since+1 {
				g.errors <- fmt.Errorf("set at revision %d, but the first revision observed is %d", since, first)
			}
			for i, rev := range observed {
				if rev != observed[0]+int64(i) {
					g.errors <- fmt.Errorf("observed revision %d after %d", rev, observed[i-1])
				}
			}
		}
	})
	g.applyMoves(300)
	g.stop.Store(true)
	wait.Wait()
	select {
	case err := <-g.errors:
		t.Fatal(err)
	default:
	}
}

func TestCloseInterruptsReaders(t *testing.T) {
	for range 20 {
		g := newTokenWorkload(t, crashOptions)
		var readers sync.WaitGroup
		started := make(chan struct{}, 3)
		for i := range 3 {
			readers.Go(func() {
				rnd := rand.New(rand.NewPCG(uint64(i), 6))
				for first := true; ; first = false {
					if err := g.checkView(rnd); errors.Is(err, ErrClosed) {
						return
					} else if err != nil && !g.s.stopping.Load() {
						g.errors <- err
						return
					}
					if first {
						started <- struct{}{}
					}
				}
			})
		}
		g.applyMoves(5)
		for range 3 {
			<-started
		}
		g.close()
		readers.Wait()
		if len(g.errors) > 0 {
			t.Fatal(<-g.errors)
		}
	}
}
