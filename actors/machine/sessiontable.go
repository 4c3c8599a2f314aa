package machine

import (
	"bytes"
	"cmp"
	"math"
	"slices"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// sessionTable makes each command take effect exactly once, however often it is in the log
// (dissertation §6.3, docs/protocol.md P60 to P64).
//
// A client whose proposal gets no reply cannot know whether it was committed: the proposal may be
// lost, or only the reply. So it proposes the same entry again, and the log may hold it several
// times. The first copy is applied. For the others the table has the reply.
//
// The client is a Session (internal/session). It registers by an entry of the log, and the index of
// that entry is its session id. It numbers its commands, and each command also carries the lowest
// sequence number whose reply is still outstanding. This is what the table keeps of a session, by
// sequence number:
//
//	acknowledged  │ evicted     │ cached
//	… 11 12 13    │ 14 15 16 17 │ 18 19 20 21 …
//	               │             │
//	               │             cachedFrom: from here on, every applied command has a cachedReply,
//	               │                         and a command without one is new
//	               lowestOutstanding
//
// The client has the replies below lowestOutstanding, so they are removed. Usually cachedFrom
// equals lowestOutstanding. It is higher if a session had more replies outstanding than the limit:
// then the lowest were evicted, and a command that comes again from there is not applied; its
// outcome is unknown. The value of a cached reply may be evicted alone, if it or all values
// together were too large, with the same result for that command.
//
// A session ends when its process does, which no entry reports. So it is closed with all its
// replies when its member uses a later one: its first command or barrier closes the older sessions
// of the member. Its registration does not. The registration of an earlier process may be delayed
// and come after that of the present one, but no process uses a session that it does not know, and
// processes of a member do not overlap: the sessions that are used ascend. The sessions of a member
// that a configuration does not contain are closed by that configuration.
//
// The table is replicated state: it changes only by entries and their results, in the order of the
// log. It is the same on every member at the same index, in whatever batches they applied the log.
// Its limits are part of that, so they are constants of the feature level and cannot be configured.
//
// Invariants: sessions ascend by id. The replies of a session ascend by sequence, and none is below
// cachedFrom, which is at least lowestOutstanding. The values of a session are within its limit of
// bytes.
type sessionTable struct {
	limits    SessionLimits
	sessions  []*clientSession
	lastFound *clientSession // of the last call of find
}

// SessionLimits bound the session table. They are the same on all members.
type SessionLimits struct {
	Sessions             int // of the table
	SessionsPerNode      int // a member that restarts often evicts its own sessions only
	RepliesPerSession    int
	ValueBytesPerSession int
	MaxValueBytes        int // of one reply
	MaxNonceBytes        int
}

// featureLevel1Limits are those of production. Only a session that was used has replies, and a
// member has one of those. So the replies take 8.7 MiB for each member.
var featureLevel1Limits = SessionLimits{
	Sessions:             64,
	SessionsPerNode:      4,
	RepliesPerSession:    1 << 16,
	ValueBytesPerSession: 4 << 20,
	MaxValueBytes:        256 << 10,
	MaxNonceBytes:        64,
}

// decision is what the session table decides about a command.
type decision int

const (
	// isNew: apply it. It has a pending reply, which waits for its value.
	isNew decision = iota
	// isInBatch: it is in the present batch already, and gets the same reply.
	isInBatch
	// isCached: it was applied, and the reply is cached.
	isCached
	// isEvicted: it may have been applied, but the reply is evicted. Do not apply it.
	isEvicted
	// isAcknowledged: the client has the reply. Do not apply it.
	isAcknowledged
)

func newSessionTable(l SessionLimits) *sessionTable { return &sessionTable{limits: l} }

// find returns a session; nil if it was never registered, or has expired or been evicted.
func (t *sessionTable) find(id uint64) *clientSession {
	if t.lastFound != nil && t.lastFound.id == id {
		return t.lastFound
	}
	at, found := t.search(id)
	if !found {
		return nil
	}
	t.lastFound = t.sessions[at]
	return t.lastFound
}

func (t *sessionTable) search(id uint64) (at int, found bool) {
	return slices.BinarySearchFunc(t.sessions, id, func(s *clientSession, id uint64) int { return cmp.Compare(s.id, id) })
}

// register adds a session and returns its id. A second registration with the same nonce returns the
// session of the first one, whose confirmation was lost. It returns 0 if the nonce is too long.
func (t *sessionTable) register(index, node uint64, nonce []byte) (id uint64) {
	if len(nonce) > t.limits.MaxNonceBytes {
		return 0
	}
	ofNode := 0
	for _, s := range t.sessions {
		if s.node != node {
			continue
		}
		if bytes.Equal(s.nonce, nonce) {
			return s.id
		}
		ofNode++
	}
	if ofNode >= t.limits.SessionsPerNode {
		t.evictLeastRecent(func(s *clientSession) bool { return s.node == node })
	}
	if len(t.sessions) >= t.limits.Sessions && !t.evictLeastRecent(t.hasLater) {
		t.evictLeastRecent(func(*clientSession) bool { return true })
	}
	// Indexes ascend, so the newest is the last.
	t.sessions = append(t.sessions, &clientSession{id: index, node: node, nonce: bytes.Clone(nonce), lastUsed: index})
	return index
}

// hasLater reports whether the member of a session has registered a later one. Most likely the
// process of the session has ended then.
func (t *sessionTable) hasLater(s *clientSession) bool {
	return slices.ContainsFunc(t.sessions, func(other *clientSession) bool { return other.node == s.node && other.id > s.id })
}

// evictLeastRecent removes the least recently used of some sessions, and reports whether there was
// one. No two have the same lastUsed.
func (t *sessionTable) evictLeastRecent(among func(s *clientSession) bool) bool {
	var oldest *clientSession
	for _, s := range t.sessions {
		if among(s) && (oldest == nil || s.lastUsed < oldest.lastUsed) {
			oldest = s
		}
	}
	return oldest != nil && t.expire(oldest.id)
}

// use records that the entry at index is of a session. The first one closes the older sessions of
// its member.
func (t *sessionTable) use(s *clientSession, index uint64) {
	if first := s.lastUsed == s.id; first {
		t.sessions = slices.DeleteFunc(t.sessions, func(other *clientSession) bool { return other.node == s.node && other.id < s.id })
		t.lastFound = nil
	}
	s.lastUsed = index
}

// foreign returns the ids of the sessions of members that a configuration does not contain.
func (t *sessionTable) foreign(c *messages.Configuration) (ids []uint64) {
	for _, s := range t.sessions {
		if raft.FindMember(c, s.node) == nil {
			ids = append(ids, s.id)
		}
	}
	return ids
}

// expire removes a session, and reports whether there was one.
func (t *sessionTable) expire(id uint64) bool {
	at, found := t.search(id)
	if found {
		t.sessions = slices.Delete(t.sessions, at, at+1)
		t.lastFound = nil
	}
	return found
}

// admit decides about the command at index. With isInBatch and isCached it returns the reply, too.
func (t *sessionTable) admit(s *clientSession, index, sequence, lowestOutstanding uint64) (decision, cachedReply) {
	t.use(s, index)
	s.acknowledgeBelow(lowestOutstanding)
	switch {
	case sequence < s.lowestOutstanding:
		return isAcknowledged, cachedReply{}
	case sequence < s.cachedFrom || sequence == math.MaxUint64: // cachedFrom could not rise above it
		return isEvicted, cachedReply{}
	}
	at, found := s.search(sequence)
	if !found {
		s.insert(at, cachedReply{sequence: sequence, index: index, state: inBatch})
		if len(s.replies) > t.limits.RepliesPerSession {
			s.cachedFrom = s.replies[0].sequence + 1
			s.removeLowest(1)
		}
		return isNew, cachedReply{}
	}
	reply := s.replies[at]
	switch reply.state {
	case inBatch:
		return isInBatch, reply
	case cached:
		return isCached, reply
	}
	return isEvicted, cachedReply{}
}

// cacheReply sets the value of a pending reply, unless the reply was removed meanwhile. If the
// values then exceed the limit, those of the lowest sequences are evicted: their client has most
// likely received them.
//
// Values are set at the end of a batch, everything else changes entry by entry. The result is the
// same as if each value were set with its entry. Acknowledging and evicting both remove from the
// low end. What is acknowledged is removed in either order, and what is not is evicted only if the
// values above it exceed the limit by themselves.
func (t *sessionTable) cacheReply(id, sequence uint64, value []byte) {
	s := t.find(id)
	if s == nil {
		return
	}
	at, found := s.search(sequence)
	if !found || s.replies[at].state != inBatch {
		return
	}
	if len(value) > t.limits.MaxValueBytes {
		s.dropValue(sequence)
		return
	}
	s.setValue(at, value)
	for s.valueBytes > t.limits.ValueBytesPerSession {
		s.evictLowestValue()
	}
}

// replyOverheadBytes is the approximate memory of a cached reply without its value.
const replyOverheadBytes = 72

// sizeBytes is the approximate memory of the table.
func (t *sessionTable) sizeBytes() uint64 {
	size := 0
	for _, s := range t.sessions {
		size += s.valueBytes + len(s.replies)*replyOverheadBytes
	}
	return uint64(size)
}
