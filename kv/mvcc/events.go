package mvcc

import (
	"context"
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// Events returns the history from fromRev to toRev (inclusive; 0: the view's newest) of the keys in
// the range, in order. After maxBytes it stops at the end of a revision. nextRev is the revision to
// continue at; it is above toRev if all were read. rangeEnd is that of RangeRequest. It returns
// ErrCompacted for a fromRev below the compacted revision, and ErrEventsTooLarge if the events of
// fromRev, or of the first revision after it that has any, would take more than maxRevisionBytes
// (0: no limit); then nextRev is that revision.
//
// With wantPrev, an event has the key's state before it, unless that was compacted, as in etcd.
func (v *View) Events(ctx context.Context, fromRev, toRev int64, key, rangeEnd []byte, wantPrev bool, maxBytes, maxRevisionBytes int) (events []*Event, nextRev int64, err error) {
	if err := v.begin(); err != nil {
		return nil, 0, err
	}
	defer v.end(&err)
	r := &v.reader
	if toRev <= 0 || toRev > r.rev {
		toRev = r.rev
	}
	fromRev = max(fromRev, 0)
	if fromRev < r.compactRev {
		return nil, 0, ErrCompacted
	}
	it, err := r.src.NewIter(ctx, appendHistoryKey(nil, revision{main: fromRev}), appendHistoryKey(nil, revision{main: toRev + 1}))
	if err != nil {
		return nil, 0, fmt.Errorf("opening an iterator: %w", err)
	}
	defer it.Close()
	g := eventCollector{r: r, keys: newKeyRange(key, rangeEnd), wantPrev: wantPrev}
	for ok := it.First(); ok; ok = it.Next() {
		if g.steps++; g.steps%256 == 0 {
			if err := r.checkInterrupted(ctx); err != nil {
				return nil, 0, err
			}
		}
		key, rec, err := r.event(it)
		if err != nil {
			return nil, 0, err
		}
		if g.size >= maxBytes && rec.rev.main != g.last && len(g.events) > 0 {
			return g.events, rec.rev.main, nil
		}
		if rec.rev.main != g.last {
			g.last, g.revisionStart, g.revisionBytes = rec.rev.main, len(g.events), 0
		}
		if err := g.add(key, &rec); err != nil {
			return nil, 0, err
		}
		if maxRevisionBytes == 0 || g.revisionBytes <= maxRevisionBytes {
			continue
		}
		if g.revisionStart == 0 {
			return nil, g.last, ErrEventsTooLarge
		}
		return g.events[:g.revisionStart], g.last, nil
	}
	return g.events, toRev + 1, it.Error()
}

// eventCollector makes events of history rows.
type eventCollector struct {
	r        *reader
	keys     keyRange
	wantPrev bool
	events   []*Event
	size     int
	last     int64 // revision of the last row
	// revisionStart is the index of the first event of that revision, revisionBytes about the
	// memory of its events.
	revisionStart int
	revisionBytes int
	steps         int
	slab          kvSlab
	spareEvents   []Event // memory of later events
}

func (g *eventCollector) add(key []byte, rec *record) error {
	if !g.keys.contains(key) {
		return nil
	}
	if len(g.spareEvents) == 0 {
		g.spareEvents = make([]Event, min(max(4, len(g.events)), 256))
	}
	e := &g.spareEvents[0]
	g.spareEvents = g.spareEvents[1:]
	if !rec.isLive() {
		e.Type = mvccpb.Event_DELETE
		e.Kv = g.slab.keyValue(key, &record{metadata: metadata{rev: rec.rev}}, false)
	} else {
		e.Kv = g.slab.keyValue(key, rec, true)
	}
	g.size += len(key) + len(rec.value) + 48
	g.revisionBytes += len(key) + len(rec.value) + eventOverheadBytes
	if g.wantPrev && rec.version != 1 && rec.rev.main-1 >= g.r.compactRev {
		prev, closer, err := g.r.eventAt(rec.prev, rec.rev.main-1)
		if err != nil {
			return err
		}
		if closer != nil {
			if prev.isLive() {
				e.PrevKv = g.slab.keyValue(key, &prev, true)
				g.size += len(key) + len(prev.value) + 48
				g.revisionBytes += len(key) + len(prev.value) + eventOverheadBytes/2
			}
			closer.Close()
		}
	}
	g.events = append(g.events, e)
	return nil
}
