package machine

import (
	"bytes"
	"math"
	"slices"
)

// ledger is what makes a command take effect exactly once, however often it is proposed (DESIGN §4, "Exactly once"). A
// handle that hears nothing of a command, because the leader died or a message was lost, proposes the very same entry
// again, and the log may hold it any number of times. The first one counts; for the others the ledger has the answer.
//
// The ledger is replicated state: it changes only by entries of the log and the results of applying them, in their order,
// so it is the same on all members at the same index, whatever batches they apply in. That goes for its bounds too, which
// are therefore constants of the feature level and not configuration.
//
// An origin, one handle's life, is opened by an entry and named by its index. Of each origin is known:
//
//	sequences   … 11 12 13 │ 14 15 16 17 │ 18 19 20 21 …
//	                       │             └ floor: from here on every applied command is listed with its answer; what is
//	                       │               not listed is new
//	                       └ watermark: the lowest sequence that the handle still waits for, as its commands told
//
// Below the watermark nobody waits any more. Between watermark and floor answers had to be dropped for their number: a
// command that comes again from there is not applied, and its outcome is unknown. Normally the floor is the watermark.
// A listed answer may have lost its value, because it or all of them were too large: the same holds for it.
//
// Invariant: origins ascend by id. An origin's answers ascend by sequence, all at or above floor ≥ watermark; the bytes of
// their values are within the limit.
type ledger struct {
	limits  limits
	origins []*origin
	recent  *origin // the one asked for last
}

// limits bound the ledger. All members must have the same.
type limits struct {
	origins        int // in all; the least recently used gives way
	originsOfANode int // so that a member that starts over and over displaces its own origins, not those of the others
	answers        int // of an origin
	bytes          int // of the values of an origin's answers
	answerBytes    int // of one value
	nonceBytes     int
}

var featureLevel1 = limits{
	origins:        256,
	originsOfANode: 8,
	answers:        1 << 16,
	bytes:          4 << 20,
	answerBytes:    256 << 10,
	nonceBytes:     64,
}

// verdict is what the ledger knows of a command.
type verdict int

const (
	// isNew: to be applied. An answer is listed for it, which waits for its value.
	isNew verdict = iota
	// isPending: it is in the batch in hand already.
	isPending
	// isKept: it was applied, and this is the answer.
	isKept
	// isForgotten: it may have been applied, but the answer is gone. Not to be applied.
	isForgotten
	// isUnwanted: nobody waits for it any more. Not to be applied.
	isUnwanted
)

func newLedger(l limits) *ledger { return &ledger{limits: l} }

// find returns the origin, nil where it is not known: never opened, closed, or displaced.
func (l *ledger) find(id uint64) *origin {
	if l.recent != nil && l.recent.id == id {
		return l.recent
	}
	at, found := l.search(id)
	if !found {
		return nil
	}
	l.recent = l.origins[at]
	return l.recent
}

func (l *ledger) search(id uint64) (at int, found bool) {
	return slices.BinarySearchFunc(l.origins, id, func(o *origin, id uint64) int {
		switch {
		case o.id < id:
			return -1
		case o.id > id:
			return 1
		}
		return 0
	})
}

// open makes an origin known and returns its id. A handle that opens twice with one nonce, having heard nothing of the
// first time, gets the same origin. 0: refused, the nonce is too long.
func (l *ledger) open(index, node uint64, nonce []byte) (id uint64) {
	if len(nonce) > l.limits.nonceBytes {
		return 0
	}
	ofNode := 0
	for _, o := range l.origins {
		if o.node != node {
			continue
		}
		if bytes.Equal(o.nonce, nonce) {
			o.lastUsed = index
			return o.id
		}
		ofNode++
	}
	if ofNode >= l.limits.originsOfANode {
		l.displace(func(o *origin) bool { return o.node == node })
	}
	if len(l.origins) >= l.limits.origins {
		l.displace(func(*origin) bool { return true })
	}
	// Indexes ascend, so the newest is the last.
	l.origins = append(l.origins, &origin{id: index, node: node, nonce: bytes.Clone(nonce), lastUsed: index})
	return index
}

// displace forgets the least recently used of some origins. No two were used last by the same entry.
func (l *ledger) displace(among func(o *origin) bool) {
	var oldest *origin
	for _, o := range l.origins {
		if among(o) && (oldest == nil || o.lastUsed < oldest.lastUsed) {
			oldest = o
		}
	}
	if oldest != nil {
		l.close(oldest.id)
	}
}

// close forgets an origin and tells whether it was known.
func (l *ledger) close(id uint64) bool {
	at, found := l.search(id)
	if found {
		l.origins = slices.Delete(l.origins, at, at+1)
		l.recent = nil
	}
	return found
}

// admit decides about the command at index. A copy of the listed answer comes along, for isPending and isKept.
func (l *ledger) admit(o *origin, index, sequence, lowestOutstanding uint64) (verdict, answer) {
	o.lastUsed = index
	o.raise(lowestOutstanding)
	switch {
	case sequence < o.watermark:
		return isUnwanted, answer{}
	case sequence < o.floor || sequence == math.MaxUint64: // past which no floor could rise
		return isForgotten, answer{}
	}
	at, found := o.search(sequence)
	if !found {
		o.insert(at, answer{sequence: sequence, index: index, state: pending})
		if len(o.answers) > l.limits.answers {
			o.floor = o.answers[0].sequence + 1
			o.drop(1)
		}
		return isNew, answer{}
	}
	a := o.answers[at]
	switch a.state {
	case pending:
		return isPending, a
	case kept:
		return isKept, a
	}
	return isForgotten, answer{}
}

// expect notes at which place of the batch the value of a new answer will be found.
func (l *ledger) expect(o *origin, sequence uint64, command int) {
	if at, found := o.search(sequence); found {
		o.answers[at].command = command
	}
}

// settle gives a listed answer its value, unless it was dropped meanwhile. The values of the lowest sequences give way to
// it where there are too many bytes: their handle has most likely heard of them.
//
// Values come at the end of a batch, all else with its entry. The outcome is the same as if each came with its entry, so
// that the batches do not matter: raising the watermark and giving way both take from the low end, and what is below the
// watermark goes in either order; so what is above it gives way only if it would have without those below.
func (l *ledger) settle(id, sequence uint64, value []byte) {
	o := l.find(id)
	if o == nil {
		return
	}
	at, found := o.search(sequence)
	if !found || o.answers[at].state != pending {
		return
	}
	if len(value) > l.limits.answerBytes {
		l.lose(o, sequence)
		return
	}
	o.keep(at, value)
	for o.bytes > l.limits.bytes {
		o.giveWay()
	}
}

// lose is settle for a value that is too large to keep.
func (l *ledger) lose(o *origin, sequence uint64) {
	if at, found := o.search(sequence); found {
		o.answers[at].state = dropped
	}
}

// answerOverhead is about what a listed answer takes beside its value.
const answerOverhead = 72

// size is about how many bytes of memory the ledger takes.
func (l *ledger) size() uint64 {
	size := 0
	for _, o := range l.origins {
		size += o.bytes + len(o.answers)*answerOverhead
	}
	return uint64(size)
}
