package node

import (
	"math"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// leader appends proposals, replicates them, commits what a quorum has, and gives read points.
type leader struct {
	*Node
	startedAt time.Duration
	// heartbeatsAt is when the last periodic round of heartbeats was sent.
	heartbeatsAt time.Duration
	// firstIndex is the index of the first entry of the leader's term. Until it is committed, the
	// leader does not know the commit index (E25), and no entry before it is committed (E44).
	firstIndex  uint64
	peers       peerStates
	reads       readRounds
	uncommitted uncommittedEntries
	commits     commitNotifier
	disk        diskWatch
	transfer    transfer
}

func (*leader) name() string { return roleLeader }

// becomeLeader begins the leadership with an entry of the new term (Raft §8) and heartbeats. Only
// then it reports itself to the Session, which begins to send what is pending.
func (n *Node) becomeLeader() {
	n.contact.fastUntil = 0
	now := n.env.Now()
	l := &leader{
		Node: n, startedAt: now, heartbeatsAt: now, firstIndex: n.log.lastIndex() + 1, disk: diskWatch{lastAppend: now},
		uncommitted: uncommittedEntries{commands: make(map[commandKey]struct{})},
	}
	n.become(l)
	n.env.Log().Info().Uint64("term", n.term).Uint64("last_index", n.log.lastIndex()).Msg("became leader")
	l.syncReplicators()
	l.inheritUncommitted()
	noop := raft.EncodeNoop()
	l.appendProposals([][]byte{noop}, uint64(len(noop)))
	l.sendHeartbeats()
	n.timer.set(n.config.HeartbeatInterval)
	n.setLeader(n.self())
}

// inheritUncommitted records the commands that the log has from earlier terms. Of what is not in
// memory, a command that is sent again is appended again, and the session table drops it.
func (l *leader) inheritUncommitted() {
	from, last := max(l.log.commitIndex+1, l.log.memory.first), l.log.lastIndex()
	if from <= last {
		l.uncommitted.inherit(l.log.memory.slice(l.log.terms, from, last, math.MaxUint64))
	}
}

// leave stops the Replicators and refuses the reads that wait.
func (l *leader) leave(why string) {
	for _, p := range l.peers {
		l.stopReplication(p)
	}
	for _, w := range l.reads.rounds {
		l.refuseReads(w.reads, messages.Refusal_REFUSAL_NO_LEADER)
	}
	l.refuseReads(l.reads.beforeFirstCommit, messages.Refusal_REFUSAL_NO_LEADER)
	l.refuseReads(l.reads.takeCollected(), messages.Refusal_REFUSAL_NO_LEADER)
	l.env.Log().Info().Uint64("term", l.term).Str("why", why).
		Dur("led_for", l.env.Now()-l.startedAt).Msg("stopped leading")
}

func (l *leader) observe(v actors.NodeView) actors.NodeView {
	v.UncommittedBytes, v.PendingReads = l.uncommitted.bytes, l.reads.count
	return v
}

func (l *leader) receive(ctx actor.Context) {
	m := ctx.Message()
	if !l.stepTerm(m) {
		return
	}
	switch m := m.(type) {
	case *messages.AppendEntries:
		failTwoLeaders(l.term, l.self(), m.Leader)
	case *messages.Heartbeat:
		failTwoLeaders(l.term, l.self(), m.Leader)
	case *messages.RequestVote:
		l.handleRequestVote(m, true) // CheckQuorum ends a leadership without contact to a quorum
	case *messages.Propose:
		l.handlePropose(m)
	case *messages.ForwardedProposals:
		l.handleForwardedProposals(m)
	case *messages.Flush:
		l.flushPending = false
		l.processBatch()
	case *messages.RequestRead:
		l.handleReadRequest(readRequest{id: m.Id}, m.Mode == messages.ReadMode_READ_MODE_LEADER)
	case *messages.ForwardedRead:
		l.handleReadRequest(readRequest{from: m.From, id: m.Id}, m.Unconfirmed)
	case *messages.ReplicationProgress:
		l.handleReplicationProgress(m)
	case *messages.HeartbeatResponse:
		l.handleHeartbeatResponse(m)
	case *messages.Fetch:
		l.handleFetch(m)
	case *messages.ResolveConflict:
		l.handleResolveConflict(m)
	case *messages.Durable:
		l.handleDurable(m)
		l.disk.recordDurable(l.env.Now(), m.Mark.Index)
		l.advanceLeaderCommit()
		l.uncommitted.release(min(l.log.commitIndex, l.log.durableIndex))
	case *messages.Tick:
		l.handleTick(m)
	case *messages.TransferLeadership:
		l.startTransfer(m.Target)
	case *messages.Rejoin:
		l.handleRejoin(m)
	case *actor.Terminated:
		if l.children.terminated(m.Who) {
			l.syncReplicators()
		}
	default:
		l.stepCommon(m)
	}
}

// processBatch appends the collected proposals, starts a read round, and sends a new commit index
// to the peers unless one of these did.
func (l *leader) processBatch() {
	if data, bytes, forwarders := l.proposals.take(); len(data) > 0 {
		forEachBatch(data, bytes, l.config.Limits.MaxBatchBytes, l.appendProposals)
		l.commits.advanced = false // the entries carry the commit index
		for _, id := range forwarders {
			if p := l.peers.find(id); p != nil {
				p.forwardedThrough = l.log.lastIndex()
			}
		}
	}
	l.startReadRound()
	if l.commits.advanced {
		l.notifyCommit()
	}
}

func (l *leader) handleTick(m *messages.Tick) {
	switch {
	case m.Timer == commitNotifyTimer:
		l.commits.timerFired(l.peers, l.log.commitIndex, l.sendCommit)
		l.notifyCommit()
	case l.timer.fired(m.Timer) && l.timer.expired():
		l.handleHeartbeatInterval()
	}
}

func (l *leader) handleHeartbeatInterval() {
	now, timeout := l.env.Now(), l.config.ElectionTimeout
	if !l.hasQuorumContact() {
		l.becomeFollower(l.term, 0, "no contact to a quorum within the election timeout")
		return
	}
	if l.disk.isStalled(now, timeout) {
		l.stepDownWithTransfer("own disk made no progress within the election timeout")
		return
	}
	l.abortExpiredTransfer()
	l.recordStorageIDs()
	l.transferFromLowDisk()
	if l.disk.needsProbe(now, timeout) {
		l.persistAndWatch(&messages.Append{})
	}
	if now-l.heartbeatsAt > 2*l.config.HeartbeatInterval {
		l.lateHeartbeats++
		l.stateChanged = true
	}
	l.heartbeatsAt = now
	l.sendHeartbeats()
	l.timer.set(l.config.HeartbeatInterval)
}

// hasQuorumContact is CheckQuorum (dissertation §6.2, E19): whether a quorum has responded
// within the election timeout. A leader without it steps down.
func (l *leader) hasQuorumContact() bool {
	now := l.env.Now()
	if now-l.startedAt < l.config.ElectionTimeout {
		return true
	}
	contact := l.quorum.HighestAcknowledged(l.valueOf(uint64(now), func(p *peerState) uint64 {
		return uint64(p.lastContact)
	}))
	return now-time.Duration(contact) < l.config.ElectionTimeout
}

// valueOf returns a number for each voter: own for this node, value(p) for a peer that counts.
func (l *leader) valueOf(own uint64, value func(*peerState) uint64) func(id uint64) uint64 {
	return func(id uint64) uint64 {
		if id == l.self() {
			return own
		}
		if p := l.peers.find(id); p != nil && p.counts && !p.lostEntries {
			return value(p)
		}
		return 0
	}
}

// persistAndWatch persists a, and watches that the disk makes it durable in time.
func (l *leader) persistAndWatch(a *messages.Append) {
	a.NeedsSync, a.Notify = true, true
	l.persist(a)
	l.disk.expect(l.env.Now(), a.Mark.Index)
}
