package node

import (
	"sort"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// leadership is what a node knows only while it leads.
type leadership struct {
	// first is the index of this term's own first entry: nothing is read, and nothing of an earlier term counts as
	// committed, before it is (E25, E44).
	firstIndex uint64
	// peers are the other members, learners too, in the order of their ids.
	peers []*peerState
	// round numbers the rounds of heartbeats, monotonically over the term (E26).
	heartbeatRound uint64
	// waiting reads, in the order of their rounds.
	pendingRounds []readRound
	// early reads came before the first commit of the term.
	readsBeforeFirstCommit []readRequest
	// reads are how many there are: waiting, early, and collected for the next round.
	pendingReads int
	// uncommitted is what was proposed and is not both committed and on the own disk, and its bytes: the bound on them. Until
	// then only memory has it, also where the followers' disks were faster than ours and have committed it.
	uncommittedBatches []uncommittedBatch
	uncommittedBytes   uint64
	// began is when this leadership began.
	startedAt time.Duration
	// diskPending: the LogStore has not answered for all of the log. diskLastProgress is when it was last seen at work, or when it got
	// something to do; diskPendingIndex the newest mark that it was given.
	diskPending      bool
	diskLastProgress time.Duration
	diskPendingIndex uint64
	// diskLastProbe is when the disk of an idle leader was last asked for a sign of life.
	diskLastProbe time.Duration
	transfer      *transfer
	// nextTransferAt is when the next transfer of the leader's own accord may begin, after one that failed.
	nextTransferAt time.Duration
	// noticing: a timer runs for those who shall hear of the commit index soon, but need not at once.
	commitTimerRunning bool
}

// peer is another member, as its leader sees it.
type peerState struct {
	id               uint64
	replicator       *actor.PID // nil while the former one of this name has not stopped
	matchIndex       uint64
	ackedRound       uint64        // the highest round it acknowledged
	lastContact      time.Duration // when it was last heard of
	commitSent       uint64        // the commit index it was told, as far as is known
	commitPending    uint64        // the commit index it was to be told when the timer for notices was set
	forwardedThrough uint64        // up to here there may be proposals of its own clients
	replicatorState  string
	diskLow          bool
	forwardedFilter  raft.DuplicateFilter // of its proposals
}

type uncommittedBatch struct{ last, bytes uint64 }

// becomeLeader begins with an entry of the new term: until that is committed, the leader does not know what is (E25).
func (n *Node) becomeLeader() {
	n.campaign = nil
	n.fastCampaignUntil = 0
	now := n.env.Now()
	n.leadership = &leadership{firstIndex: n.log.LastIndex() + 1, startedAt: now, diskLastProbe: now}
	n.become(roleLeader, n.leading)
	n.env.Log().Info().Uint64("term", n.term).Uint64("last_index", n.log.LastIndex()).Msg("became leader")
	n.syncReplicators()
	n.setLeader(n.self())
	n.appendProposals([][]byte{raft.EncodeNoop()}, 1)
	n.sendHeartbeats()
	n.setDeadline(n.config.HeartbeatInterval)
}

// stopLeading ends the leadership: replicators are stopped, and who waits for a read point is told to ask elsewhere.
func (n *Node) stopLeading(why string) {
	lead := n.leadership
	n.leadership = nil
	for _, p := range lead.peers {
		n.stopReplicator(p)
	}
	for _, w := range lead.pendingRounds {
		n.refuseReads(w.reads, messages.Refusal_REFUSAL_NO_LEADER)
	}
	n.refuseReads(lead.readsBeforeFirstCommit, messages.Refusal_REFUSAL_NO_LEADER)
	n.refuseReads(n.pending.takeReads(), messages.Refusal_REFUSAL_NO_LEADER)
	n.env.Log().Info().Uint64("term", n.term).Str("why", why).
		Dur("led_for", n.env.Now()-lead.startedAt).Msg("stopped leading")
}

// leading is the leader's behaviour.
func (n *Node) leading(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *messages.Progress:
		n.handleProgress(m)
	case *messages.HeartbeatResponse:
		n.handleHeartbeatResponse(m)
	case *messages.Durable:
		n.handleOwnDurable(m)
	case *messages.Fetch:
		n.handleFetch(m)
	case *messages.ResolveConflict:
		n.handleResolveConflict(m)
	case *messages.ForwardedProposals:
		n.handleForwardedProposals(m)
	case *messages.RequestRead:
		n.handleReadRequest(readRequest{id: m.Id}, m.Mode == messages.ReadMode_READ_MODE_LEADER)
	case *messages.ForwardedRead:
		n.handleReadRequest(readRequest{from: m.From, id: m.Id}, m.Unconfirmed)
	case *messages.Tick:
		n.leaderTick()
	case *messages.TransferLeadership:
		n.startTransfer(m.Target)
	}
}

// syncReplicators sees to it that there is one replicator for each other member of the configuration in effect.
func (n *Node) syncReplicators() {
	known := make(map[uint64]*peerState, len(n.leadership.peers))
	for _, p := range n.leadership.peers {
		known[p.id] = p
	}
	var peers []*peerState
	for _, m := range n.members.GetMembers() {
		if m.Id == n.self() {
			continue
		}
		p := known[m.Id]
		delete(known, m.Id)
		if p == nil {
			p = &peerState{id: m.Id, lastContact: n.env.Now(), replicatorState: "probing"}
		}
		peers = append(peers, p)
	}
	for _, p := range n.leadership.peers {
		if known[p.id] != nil {
			n.stopReplicator(p)
		}
	}
	sort.Slice(peers, func(i, j int) bool { return peers[i].id < peers[j].id })
	n.leadership.peers = peers
	for _, p := range peers {
		n.startReplicator(p)
	}
}

func (n *Node) startReplicator(p *peerState) {
	name := actors.ReplicatorName(p.id)
	if p.replicator != nil || n.stoppingReplicators[n.ctx.Self().Id+"/"+name] {
		return
	}
	p.replicator = n.spawn(n.config.Replicator(p.id, n.reader, n.term), name)
}

func (n *Node) stopReplicator(p *peerState) {
	if p.replicator != nil {
		n.stoppingReplicators[p.replicator.Id] = true
		n.ctx.Stop(p.replicator)
		p.replicator = nil
	}
}

func (l *leadership) peerByID(id uint64) *peerState {
	for _, p := range l.peers {
		if p.id == id {
			return p
		}
	}
	return nil
}

// appendProposals gives proposals their indexes and says them, in batches, to the LogStore and to every Replicator at
// once: disk and network work in parallel. A leader never overwrites its own log.
func (n *Node) appendProposals(data [][]byte, bytes uint64) {
	first := n.log.LastIndex() + 1
	e := &messages.Entries{
		First: first,
		Runs:  []*messages.TermRun{{FirstIndex: first, Term: n.term}},
		Data:  data,
		Bytes: bytes,
	}
	previous := n.log.LastTerm()
	n.appendToLog(e)
	n.leadership.uncommittedBatches = append(n.leadership.uncommittedBatches, uncommittedBatch{last: n.log.LastIndex(), bytes: bytes})
	n.leadership.uncommittedBytes += bytes
	m := &messages.Replicate{
		Incarnation: n.config.Incarnation, PrevTerm: previous, Entries: e, LastIndex: n.log.LastIndex(), Commit: n.commitIndex,
	}
	for _, p := range n.leadership.peers {
		if p.replicator != nil {
			p.commitSent = max(p.commitSent, min(n.commitIndex, p.matchIndex))
			n.send(p.replicator, m)
		}
	}
	// The own disk last: the way over a follower is the longer one.
	n.persist(&messages.Append{Entries: e, NeedsSync: true, Notify: true})
}

// progressed: a peer's log agrees with ours, durably, up to matchIndex. Only a new matchIndex is a sign of life: a
// replicator also reports that it gave up waiting (E19).
func (n *Node) handleProgress(m *messages.Progress) {
	p := n.leadership.peerByID(m.Peer)
	if p == nil || m.Term != n.term {
		return
	}
	p.replicatorState, p.diskLow = m.State, m.DiskLow
	if m.MatchIndex > p.matchIndex {
		p.matchIndex, p.lastContact = m.MatchIndex, n.env.Now()
		n.advanceLeaderCommit()
		if p.commitSent < min(n.commitIndex, p.matchIndex) {
			// Committed on the others' disks before this peer had it: it could not be told then, and nothing more may follow.
			n.pending.commitMoved = true
			n.scheduleFlush()
		}
	}
	n.continueTransfer()
}

func (n *Node) handleOwnDurable(m *messages.Durable) {
	n.leadership.diskPending = m.Mark.Index < n.leadership.diskPendingIndex
	n.leadership.diskLastProgress = n.env.Now()
	n.advanceLeaderCommit()
	n.leadership.releaseThrough(min(n.commitIndex, n.durableIndex))
}

// advanceLeaderCommit moves commitIndex to what a quorum has on disk; the leader's own disk counts like any other, so it may
// commit on its followers' disks before its own, and a single voter waits for its own (E10).
func (n *Node) advanceLeaderCommit() {
	commit := raft.CommitIndex(n.quorum, n.ackedIndex, n.commitIndex, n.term, n.log)
	if commit == n.commitIndex {
		return
	}
	first := n.commitIndex < n.leadership.firstIndex && commit >= n.leadership.firstIndex
	n.advanceCommitIndex(commit)
	n.leadership.releaseThrough(min(commit, n.durableIndex))
	if first {
		n.pending.reads = append(n.pending.reads, n.leadership.readsBeforeFirstCommit...)
		n.leadership.readsBeforeFirstCommit = nil
	}
	n.pending.commitMoved = true
	n.scheduleFlush()
}

func (n *Node) ackedIndex(id uint64) uint64 {
	if id == n.self() {
		return n.durableIndex
	}
	if p := n.leadership.peerByID(id); p != nil {
		return p.matchIndex
	}
	return 0
}

// release takes off the bound what is done with up to an index.
func (l *leadership) releaseThrough(through uint64) {
	k := 0
	for k < len(l.uncommittedBatches) && l.uncommittedBatches[k].last <= through {
		l.uncommittedBytes -= l.uncommittedBatches[k].bytes
		k++
	}
	l.uncommittedBatches = l.uncommittedBatches[k:]
}
