package mvcc

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/troupe-raft/troupe/internal/interleave"
	"github.com/troupe-raft/troupe/statemachine"
)

// StoreRef refers to the store that is open at present. A restart of the node's actors closes the
// store and opens another one; the services keep one StoreRef.
//
// A request that uses a store while it is closed gets ErrClosed. It then waits for the next store
// with Get, at most until its context ends.
type StoreRef struct {
	current atomic.Pointer[Store]

	schedule *interleave.Scheduler

	mu     interleave.Mutex
	opened chan struct{} // guarded by mu; closed while current is set
	onOpen func(*Store)  // guarded by mu; called with every store before anything is applied to it

	metrics *Metrics // guarded by mu; may be nil
}

// newStoreRef refers to a store that is never reopened, or to none yet if store is nil.
func newStoreRef(store *Store) *StoreRef {
	r := &StoreRef{opened: make(chan struct{})}
	if store != nil {
		r.set(store)
	}
	return r
}

// Factory returns a state machine factory that opens the store in dir, and the reference to the
// store opened last. Unless the options set LeaseKnown, a put that names a lease is refused.
func Factory(dir string, o Options) (statemachine.Factory, *StoreRef) {
	if o.LeaseKnown == nil {
		o.LeaseKnown = func(int64) bool { return false }
	}
	ref := newStoreRef(nil)
	ref.schedule = o.Schedule
	ref.mu.Schedule(o.Schedule)
	return func() (statemachine.StateMachine, error) {
		store, err := openStore(dir, o)
		if err != nil {
			return nil, err
		}
		ref.set(store)
		return &referredStore{Store: store, ref: ref}, nil
	}, ref
}

// referredStore is a store that leaves its reference when the node closes it.
type referredStore struct {
	*Store
	ref *StoreRef
}

var _ statemachine.OnDisk = (*referredStore)(nil)

func (s *referredStore) Close() error {
	s.ref.unset(s.Store)
	return s.Store.Close()
}

func (r *StoreRef) set(store *Store) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.onOpen != nil {
		r.onOpen(store)
	}
	store.metrics.Store(r.metrics)
	if r.current.Swap(store) == nil {
		close(r.opened)
	}
}

func (r *StoreRef) unset(store *Store) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.current.CompareAndSwap(store, nil) {
		r.opened = make(chan struct{})
	}
}

// SetOnOpen sets the one function that is called with the present store, if any, and with each
// store after it, before anything is applied to it.
func (r *StoreRef) SetOnOpen(onOpen func(*Store)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.onOpen = onOpen
	if store := r.current.Load(); store != nil {
		onOpen(store)
	}
}

// Get returns the open store; it waits for one until the context ends.
func (r *StoreRef) Get(ctx context.Context) (*Store, error) {
	for {
		if store := r.current.Load(); store != nil {
			return store, nil
		}
		r.mu.Lock()
		opened := r.opened
		r.mu.Unlock()
		if r.schedule.Select(opened, ctx.Done(), nil, nil) == 1 {
			return nil, ctx.Err()
		}
	}
}

// replayPollInterval is how long ViewAt waits for a store that replays the log.
const replayPollInterval = 2 * time.Millisecond

// ViewAt returns the newest view of the open store, and the store, once the view contains
// everything up to an index. It waits until the context ends. The caller must release the view.
//
// The index is that of a read point. The store of which the node reported it may be closed since,
// and a store that was opened after it is behind until it has replayed the log: without the
// comparison, the read would return less than what the node confirmed.
func (r *StoreRef) ViewAt(ctx context.Context, index uint64) (*Store, *View, error) {
	for {
		store, err := r.Get(ctx)
		if err != nil {
			return nil, nil, err
		}
		v := store.View()
		if v.applied >= index {
			return store, v, nil
		}
		v.Release()
		if err := r.schedule.Sleep(ctx, replayPollInterval); err != nil {
			return nil, nil, err
		}
	}
}

// Read calls read with a view that contains everything up to an index (ViewAt), and again if the
// store was closed meanwhile and another one is opened.
func (r *StoreRef) Read(ctx context.Context, index uint64, read func(*View) error) error {
	for {
		store, v, err := r.ViewAt(ctx, index)
		if err != nil {
			return err
		}
		err = read(v)
		v.Release()
		if !errors.Is(err, ErrClosed) || r.IfOpen() == store {
			return err
		}
	}
}

// IfOpen returns the store if one is open, else nil.
func (r *StoreRef) IfOpen() *Store { return r.current.Load() }

// Revision returns the newest revision of the open store, 0 if none is open.
func (r *StoreRef) Revision() int64 {
	if store := r.current.Load(); store != nil {
		return store.Revision()
	}
	return 0
}
