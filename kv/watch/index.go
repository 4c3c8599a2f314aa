package watch

import (
	"maps"
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// watchIndex finds the watchers of a key: watchers of single keys in a map, watchers of ranges in
// an interval tree. The hub has one for the live feed, each stream one for its lagging watchers.
type watchIndex struct {
	kind  indexKind // which of a watcher's index slots belongs to this index
	keys  map[string]*watcherSet
	spans intervalTree[watcherSet]
	count int
}

// indexKind tells the two indexes apart that a watcher may be in at the same time.
type indexKind int

const (
	liveIndex indexKind = iota
	historyIndex
	indexKinds
)

func newWatchIndex(kind indexKind) watchIndex {
	return watchIndex{kind: kind, keys: map[string]*watcherSet{}}
}

// watcherSet is the watchers of one key or one span. Each watcher has its slot in members, so that
// its removal is O(1).
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

// remove removes a watcher that is in the index.
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

// match calls f with every watcher of the event's key that does not exclude the event.
func (x *watchIndex) match(e *mvccpb.Event, f func(*watcher)) {
	if x.count == 0 {
		return
	}
	key := e.GetKv().GetKey()
	visit := func(set *watcherSet) bool {
		for _, w := range set.members {
			if !w.excludes(e) {
				f(w)
			}
		}
		return true
	}
	if set := x.keys[string(key)]; set != nil {
		visit(set)
	}
	x.spans.visit(key, visit)
}

// each calls f with every watcher.
func (x *watchIndex) each(f func(*watcher)) {
	for _, key := range slices.Sorted(maps.Keys(x.keys)) {
		for _, w := range x.keys[key].members {
			f(w)
		}
	}
	x.spans.visitAll(func(set *watcherSet) {
		for _, w := range set.members {
			f(w)
		}
	})
}
