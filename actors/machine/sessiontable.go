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
type sessionTable struct {
	limits    sessionLimits
	sessions  []*session
	lastFound *session // the one asked for last
}

// limits bound the ledger. All members must have the same.
type sessionLimits struct {
	sessions             int // in all; the least recently used gives way
	sessionsPerNode      int // so that a member that starts over and over displaces its own origins, not those of the others
	repliesPerSession    int // of an origin
	valueBytesPerSession int // of the values of an origin's answers
	maxValueBytes        int // of one value
	maxNonceBytes        int
}

var featureLevel1Limits = sessionLimits{
	sessions:             256,
	sessionsPerNode:      8,
	repliesPerSession:    1 << 16,
	valueBytesPerSession: 4 << 20,
	maxValueBytes:        256 << 10,
	maxNonceBytes:        64,
}

// verdict is what the ledger knows of a command.
type decision int

const (
	// isNew: to be applied. An answer is listed for it, which waits for its value.
	isNew decision = iota
	// isPending: it is in the batch in hand already.
	isPending
	// isCached: it was applied, and this is the answer.
	isCached
	// isEvicted: it may have been applied, but the answer is gone. Not to be applied.
	isEvicted
	// isAcknowledged: nobody waits for it any more. Not to be applied.
	isAcknowledged
)

func newSessionTable(l sessionLimits) *sessionTable { return &sessionTable{limits: l} }

// find returns the origin, nil where it is not known: never opened, closed, or displaced.
func (l *sessionTable) find(id uint64) *session {
	if l.lastFound != nil && l.lastFound.id == id {
		return l.lastFound
	}
	at, found := l.search(id)
	if !found {
		return nil
	}
	l.lastFound = l.sessions[at]
	return l.lastFound
}

func (l *sessionTable) search(id uint64) (at int, found bool) {
	return slices.BinarySearchFunc(l.sessions, id, func(o *session, id uint64) int {
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
func (l *sessionTable) register(index, node uint64, nonce []byte) (id uint64) {
	if len(nonce) > l.limits.maxNonceBytes {
		return 0
	}
	ofNode := 0
	for _, o := range l.sessions {
		if o.node != node {
			continue
		}
		if bytes.Equal(o.nonce, nonce) {
			o.lastUsed = index
			return o.id
		}
		ofNode++
	}
	if ofNode >= l.limits.sessionsPerNode {
		l.evictLeastRecent(func(o *session) bool { return o.node == node })
	}
	if len(l.sessions) >= l.limits.sessions {
		l.evictLeastRecent(func(*session) bool { return true })
	}
	// Indexes ascend, so the newest is the last.
	l.sessions = append(l.sessions, &session{id: index, node: node, nonce: bytes.Clone(nonce), lastUsed: index})
	return index
}

// displace forgets the least recently used of some origins. No two were used last by the same entry.
func (l *sessionTable) evictLeastRecent(among func(o *session) bool) {
	var oldest *session
	for _, o := range l.sessions {
		if among(o) && (oldest == nil || o.lastUsed < oldest.lastUsed) {
			oldest = o
		}
	}
	if oldest != nil {
		l.expire(oldest.id)
	}
}

// close forgets an origin and tells whether it was known.
func (l *sessionTable) expire(id uint64) bool {
	at, found := l.search(id)
	if found {
		l.sessions = slices.Delete(l.sessions, at, at+1)
		l.lastFound = nil
	}
	return found
}

// admit decides about the command at index. A copy of the listed answer comes along, for isPending and isCached.
func (l *sessionTable) admit(o *session, index, sequence, lowestOutstanding uint64) (decision, cachedReply) {
	o.lastUsed = index
	o.acknowledgeBelow(lowestOutstanding)
	switch {
	case sequence < o.lowestOutstanding:
		return isAcknowledged, cachedReply{}
	case sequence < o.cachedFrom || sequence == math.MaxUint64: // past which no floor could rise
		return isEvicted, cachedReply{}
	}
	at, found := o.search(sequence)
	if !found {
		o.insert(at, cachedReply{sequence: sequence, index: index, state: pending})
		if len(o.replies) > l.limits.repliesPerSession {
			o.cachedFrom = o.replies[0].sequence + 1
			o.removeLowest(1)
		}
		return isNew, cachedReply{}
	}
	a := o.replies[at]
	switch a.state {
	case pending:
		return isPending, a
	case cached:
		return isCached, a
	}
	return isEvicted, cachedReply{}
}

// expect notes at which place of the batch the value of a new answer will be found.
func (l *sessionTable) setBatchPosition(o *session, sequence uint64, command int) {
	if at, found := o.search(sequence); found {
		o.replies[at].batchPosition = command
	}
}

// settle gives a listed answer its value, unless it was dropped meanwhile. The values of the lowest sequences give way to
// it where there are too many bytes: their handle has most likely heard of them.
//
// Values come at the end of a batch, all else with its entry. The outcome is the same as if each came with its entry, so
// that the batches do not matter: raising the watermark and giving way both take from the low end, and what is below the
// watermark goes in either order; so what is above it gives way only if it would have without those below.
func (l *sessionTable) cacheReply(id, sequence uint64, value []byte) {
	o := l.find(id)
	if o == nil {
		return
	}
	at, found := o.search(sequence)
	if !found || o.replies[at].state != pending {
		return
	}
	if len(value) > l.limits.maxValueBytes {
		l.dropValue(o, sequence)
		return
	}
	o.setValue(at, value)
	for o.valueBytes > l.limits.valueBytesPerSession {
		o.evictLowestValue()
	}
}

// lose is settle for a value that is too large to keep.
func (l *sessionTable) dropValue(o *session, sequence uint64) {
	if at, found := o.search(sequence); found {
		o.replies[at].state = evicted
	}
}

// replyOverheadBytes is about what a listed answer takes beside its value.
const replyOverheadBytes = 72

// size is about how many bytes of memory the ledger takes.
func (l *sessionTable) sizeBytes() uint64 {
	size := 0
	for _, o := range l.sessions {
		size += o.valueBytes + len(o.replies)*replyOverheadBytes
	}
	return uint64(size)
}
