package kv

import "go.etcd.io/etcd/api/v3/mvccpb"

// watchIndex finds the watchers that a key concerns: those of the key alone by a map, those of ranges by an interval tree.
// A hub has one of the watchers it feeds live, a stream one of its watchers that read history.
type watchIndex struct {
	// place says which of a watcher's slots belongs to this index: a watcher may stand in the hub's and in its stream's.
	kind  indexKind
	keys  map[string]*watcherSet
	spans intervalTree[watcherSet]
	count int
}

type indexKind int

const (
	liveIndex indexKind = iota
	historyIndex
	indexKinds
)

func newWatchIndex(place indexKind) watchIndex {
	return watchIndex{kind: place, keys: map[string]*watcherSet{}}
}

// watcherSet is the watchers of one key or one span. Each knows its slot, so that leaving costs nothing.
type watcherSet struct{ members []*watcher }

func (x *watchIndex) add(w *watcher) {
	set := x.keys[w.span.lo]
	if w.isRange {
		set = x.spans.getOrInsert(w.span)
	} else if set == nil {
		set = &watcherSet{}
		x.keys[w.span.lo] = set
	}
	w.indexSlot[x.kind] = len(set.members)
	set.members = append(set.members, w)
	x.count++
}

// remove takes out a watcher that is in the index.
func (x *watchIndex) remove(w *watcher) {
	set := x.keys[w.span.lo]
	if w.isRange {
		set = x.spans.getOrInsert(w.span)
	}
	slot, last := w.indexSlot[x.kind], len(set.members)-1
	moved := set.members[last]
	set.members[slot] = moved
	moved.indexSlot[x.kind] = slot
	set.members[last] = nil
	set.members = set.members[:last]
	x.count--
	if last > 0 {
		return
	}
	if w.isRange {
		x.spans.remove(w.span)
	} else {
		delete(x.keys, w.span.lo)
	}
}

// match calls f with every watcher that wants to know of the event.
func (x *watchIndex) match(e *mvccpb.Event, f func(*watcher)) {
	if x.count == 0 {
		return
	}
	key := e.GetKv().GetKey()
	wanted := func(set *watcherSet) bool {
		for _, w := range set.members {
			if !w.excludes(e) {
				f(w)
			}
		}
		return true
	}
	if set := x.keys[string(key)]; set != nil {
		wanted(set)
	}
	x.spans.visit(key, wanted)
}

// each calls f with every watcher, in no order.
func (x *watchIndex) each(f func(*watcher)) {
	for _, set := range x.keys {
		for _, w := range set.members {
			f(w)
		}
	}
	x.spans.visitAll(func(set *watcherSet) {
		for _, w := range set.members {
			f(w)
		}
	})
}
