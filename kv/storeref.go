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
// to come back (Unavailable) when its time is over. Whoever must know of every new store follows it with watchOpened.
type StoreRef struct {
	current atomic.Pointer[mvcc.Store]

	mu     sync.Mutex
	opened chan struct{}     // guarded by mu; closed once current is set, made anew when it is taken away
	tell   func(*mvcc.Store) // guarded by mu; called with every store, before the node applies anything to it
}

// NewStoreRef holds a store that is never reopened (nil: none yet). With supervision, use Factory.
func NewStoreRef(store *mvcc.Store) *StoreRef {
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
	ref := NewStoreRef(nil)
	return func() (troupe.StateMachine, error) {
		store, err := mvcc.Open(dir, o)
		if err != nil {
			return nil, err
		}
		ref.set(store)
		return &openedStore{Store: store, ref: ref}, nil
	}, ref
}

// openedStore is the state machine as the node knows it: the store, which tells the services when it is closed.
type openedStore struct {
	*mvcc.Store
	ref *StoreRef
}

var _ troupe.OnDisk = (*openedStore)(nil)

func (s *openedStore) Close() error {
	s.ref.unset(s.Store)
	return s.Store.Close()
}

func (r *StoreRef) set(store *mvcc.Store) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.tell != nil {
		r.tell(store)
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

// watchOpened has tell called with the present store, if any, and with each one after it. There is one listener.
func (r *StoreRef) watchOpened(tell func(*mvcc.Store)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tell = tell
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
func (r *StoreRef) now() *mvcc.Store { return r.current.Load() }
