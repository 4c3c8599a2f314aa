package kv

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/troupe-raft/troupe"
	"github.com/troupe-raft/troupe/kv/mvcc"
)

// StoreRef is the services' hold on the store. Supervision may close the store and open it again at any moment (a restart
// of the node's actors); the services keep the reference, and it follows.
//
// A request that holds the old store when it is closed hears mvcc.ErrClosed and tries again with the new one, or is told
// to come back (Unavailable) when its time is over. Whoever must know of every new store follows it with setOnOpen.
type StoreRef struct {
	current atomic.Pointer[mvcc.Store]

	mu     sync.Mutex
	opened chan struct{}     // guarded by mu; closed once current is set, made anew when it is taken away
	onOpen func(*mvcc.Store) // guarded by mu; called with every store, before the node applies anything to it
}

// newStoreRef holds a store that is never reopened (nil: none yet). With supervision, use Factory.
func newStoreRef(store *mvcc.Store) *StoreRef {
	r := &StoreRef{opened: make(chan struct{})}
	if store != nil {
		r.set(store)
	}
	return r
}

// Factory opens the store in dir for a troupe node, again and again as supervision wants it, and gives the services the
// reference that follows it. Unless the options say otherwise, no lease is known: a put that names one is refused.
func Factory(dir string, o mvcc.Options) (troupe.Factory, *StoreRef) {
	if o.LeaseKnown == nil {
		o.LeaseKnown = func(int64) bool { return false }
	}
	ref := newStoreRef(nil)
	return func() (troupe.StateMachine, error) {
		store, err := mvcc.Open(dir, o)
		if err != nil {
			return nil, err
		}
		ref.set(store)
		return &supervisedStore{Store: store, ref: ref}, nil
	}, ref
}

// supervisedStore is the state machine as the node knows it: the store, which tells the services when it is closed.
type supervisedStore struct {
	*mvcc.Store
	ref *StoreRef
}

var _ troupe.OnDisk = (*supervisedStore)(nil)

func (s *supervisedStore) Close() error {
	s.ref.unset(s.Store)
	return s.Store.Close()
}

func (r *StoreRef) set(store *mvcc.Store) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.onOpen != nil {
		r.onOpen(store)
	}
	if r.current.Swap(store) == nil {
		close(r.opened)
	}
}

func (r *StoreRef) unset(store *mvcc.Store) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.current.CompareAndSwap(store, nil) {
		r.opened = make(chan struct{})
	}
}

// setOnOpen has tell called with the present store, if any, and with each one after it. There is one listener.
func (r *StoreRef) setOnOpen(tell func(*mvcc.Store)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.onOpen = tell
	if store := r.current.Load(); store != nil {
		tell(store)
	}
}

// get waits for the store to be open.
func (r *StoreRef) get(ctx context.Context) (*mvcc.Store, error) {
	for {
		if store := r.current.Load(); store != nil {
			return store, nil
		}
		r.mu.Lock()
		opened := r.opened
		r.mu.Unlock()
		select {
		case <-opened:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// now is the store if it is open, else nil.
func (r *StoreRef) ifOpen() *mvcc.Store { return r.current.Load() }
