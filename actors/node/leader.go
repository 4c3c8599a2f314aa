package node

import (
	"sort"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// leadership is what a node knows only while it leads.
type leadership struct {
	// first is the index of this term's own first entry: nothing is read, and nothing of an earlier term counts as
	// committed, before it is (E25, E44).
	first uint64
	// peers are the other members, learners too, in the order of their ids.
	peers []*peer
	// round numbers the rounds of heartbeats, monotonically over the term (E26).
	round uint64
	// waiting reads, in the order of their rounds.
	waiting []readRound
	// early reads came before the first commit of the term.
	early []pendingRead
	// reads are how many there are: waiting, early, and collected for the next round.
	reads int
	// uncommitted is what was proposed and is not both committed and on the own disk, and its bytes: the bound on them. Until
	// then only memory has it, also where the followers' disks were faster than ours and have committed it.
	uncommitted      []batchSize
	uncommittedBytes uint64
	// began is when this leadership began.
	began time.Duration
	// diskOwes: the LogStore has not answered for all of the log. diskSince is when it was last seen at work, or when it got
	// something to do; diskIndex the newest mark that it was given.
	diskOwes  bool
	diskSince time.Duration
	diskIndex uint64
	// diskProbed is when the disk of an idle leader was last asked for a sign of life.
	diskProbed time.Duration
	transfer   *transfer
	// transferAfter is when the next transfer of the leader's own accord may begin, after one that failed.
	transferAfter time.Duration
	// noticing: a timer runs for those who shall hear of the commit index soon, but need not at once.
	noticing bool
}

// peer is another member, as its leader sees it.
type peer struct {
	id         uint64
	replicator *actor.PID // nil while the former one of this name has not stopped
	match      uint64
	round      uint64        // the highest round it acknowledged
	heard      time.Duration // when it was last heard of
	told       uint64        // the commit index it was told, as far as is known
	owed       uint64        // the commit index it was to be told when the timer for notices was set
	awaits     uint64        // up to here there may be proposals of its own clients
	state      string
	diskLow    bool
	forwards   raft.Once // of its proposals
}

type batchSize struct{ last, bytes uint64 }

// becomeLeader begins with an entry of the new term: until that is committed, the leader does not know what is (E25).
func (n *Node) becomeLeader() {
	n.campaign = nil
	n.fastUntil = 0
	now := n.env.Now()
	n.lead = &leadership{first: n.log.Last() + 1, began: now, diskProbed: now}
	n.become(roleLeader, n.leading)
	n.env.Log().Info().Uint64("term", n.term).Uint64("last_index", n.log.Last()).Msg("became leader")
	n.syncReplicators()
	n.setLeader(n.self())
	n.appendAsLeader([][]byte{raft.EncodeNoop()}, 1)
	n.beat()
	n.setDeadline(n.config.Heartbeat)
}

// stopLeading ends the leadership: replicators are stopped, and who waits for a read point is told to ask elsewhere.
func (n *Node) stopLeading(why string) {
	lead := n.lead
	n.lead = nil
	for _, p := range lead.peers {
		n.stopReplicator(p)
	}
	for _, w := range lead.waiting {
		n.refuseReads(w.reads, messages.Refusal_REFUSAL_NO_LEADER)
	}
	n.refuseReads(lead.early, messages.Refusal_REFUSAL_NO_LEADER)
	n.refuseReads(n.collected.takeReads(), messages.Refusal_REFUSAL_NO_LEADER)
	n.env.Log().Info().Uint64("term", n.term).Str("why", why).
		Dur("led_for", n.env.Now()-lead.began).Msg("stopped leading")
}

// leading is the leader's behaviour.
func (n *Node) leading(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *messages.Progress:
		n.progressed(m)
	case *messages.HeartbeatAnswer:
		n.heartbeatAnswered(m)
	case *messages.Durable:
		n.ownDiskAnswered(m)
	case *messages.Fetch:
		n.fetch(m)
	case *messages.Resolve:
		n.resolve(m)
	case *messages.ForwardedProposals:
		n.takeForwarded(m)
	case *messages.AskRead:
		n.askRead(pendingRead{id: m.Id}, m.Mode == messages.ReadMode_READ_MODE_LEADER)
	case *messages.ForwardedRead:
		n.askRead(pendingRead{from: m.From, id: m.Id}, m.Unconfirmed)
	case *messages.Tick:
		n.leaderTick()
	case *messages.TransferLeadership:
		n.startTransfer(m.Target)
	}
}

// syncReplicators sees to it that there is one replicator for each other member of the configuration in effect.
func (n *Node) syncReplicators() {
	known := make(map[uint64]*peer, len(n.lead.peers))
	for _, p := range n.lead.peers {
		known[p.id] = p
	}
	var peers []*peer
	for _, m := range n.members.GetMembers() {
		if m.Id == n.self() {
			continue
		}
		p := known[m.Id]
		delete(known, m.Id)
		if p == nil {
			p = &peer{id: m.Id, heard: n.env.Now(), state: "probing"}
		}
		peers = append(peers, p)
	}
	for _, p := range n.lead.peers {
		if known[p.id] != nil {
			n.stopReplicator(p)
		}
	}
	sort.Slice(peers, func(i, j int) bool { return peers[i].id < peers[j].id })
	n.lead.peers = peers
	for _, p := range peers {
		n.startReplicator(p)
	}
}

func (n *Node) startReplicator(p *peer) {
	name := replicatorName(p.id)
	if p.replicator != nil || n.stopping[n.ctx.Self().Id+"/"+name] {
		return
	}
	p.replicator = n.spawn(n.config.Replicator(p.id, n.reader, n.term), name)
}

func (n *Node) stopReplicator(p *peer) {
	if p.replicator != nil {
		n.stopping[p.replicator.Id] = true
		n.ctx.Stop(p.replicator)
		p.replicator = nil
	}
}

func (l *leadership) peer(id uint64) *peer {
	for _, p := range l.peers {
		if p.id == id {
			return p
		}
	}
	return nil
}

// appendAsLeader gives proposals their indexes and says them, in batches, to the LogStore and to every Replicator at
// once: disk and network work in parallel. A leader never overwrites its own log.
func (n *Node) appendAsLeader(data [][]byte, bytes uint64) {
	first := n.log.Last() + 1
	e := &messages.Entries{
		First: first,
		Runs:  []*messages.TermRun{{FirstIndex: first, Term: n.term}},
		Data:  data,
		Bytes: bytes,
	}
	previous := n.log.LastTerm()
	n.appendToLog(e)
	n.lead.uncommitted = append(n.lead.uncommitted, batchSize{last: n.log.Last(), bytes: bytes})
	n.lead.uncommittedBytes += bytes
	m := &messages.Replicate{
		Incarnation: n.config.Incarnation, PrevTerm: previous, Entries: e, LastIndex: n.log.Last(), Commit: n.commit,
	}
	for _, p := range n.lead.peers {
		if p.replicator != nil {
			p.told = max(p.told, min(n.commit, p.match))
			n.send(p.replicator, m)
		}
	}
	// The own disk last: the way over a follower is the longer one.
	n.persist(&messages.Append{Entries: e, Urgent: true, Tell: true})
}

// progressed: a peer's log agrees with ours, durably, up to matchIndex. Only a new matchIndex is a sign of life: a
// replicator also reports that it gave up waiting (E19).
func (n *Node) progressed(m *messages.Progress) {
	p := n.lead.peer(m.Peer)
	if p == nil || m.Term != n.term {
		return
	}
	p.state, p.diskLow = m.State, m.DiskLow
	if m.MatchIndex > p.match {
		p.match, p.heard = m.MatchIndex, n.env.Now()
		n.leaderCommit()
		if p.told < min(n.commit, p.match) {
			// Committed on the others' disks before this peer had it: it could not be told then, and nothing more may follow.
			n.collected.notice = true
			n.wantFlush()
		}
	}
	n.continueTransfer()
}

func (n *Node) ownDiskAnswered(m *messages.Durable) {
	n.lead.diskOwes = m.Mark.Index < n.lead.diskIndex
	n.lead.diskSince = n.env.Now()
	n.leaderCommit()
	n.lead.release(min(n.commit, n.durable))
}

// leaderCommit moves commitIndex to what a quorum has on disk; the leader's own disk counts like any other, so it may
// commit on its followers' disks before its own, and a single voter waits for its own (E10).
func (n *Node) leaderCommit() {
	commit := raft.CommitIndex(n.quorum, n.acked, n.commit, n.term, n.log)
	if commit == n.commit {
		return
	}
	first := n.commit < n.lead.first && commit >= n.lead.first
	n.advanceCommit(commit)
	n.lead.release(min(commit, n.durable))
	if first {
		n.collected.reads = append(n.collected.reads, n.lead.early...)
		n.lead.early = nil
	}
	n.collected.notice = true
	n.wantFlush()
}

func (n *Node) acked(id uint64) uint64 {
	if id == n.self() {
		return n.durable
	}
	if p := n.lead.peer(id); p != nil {
		return p.match
	}
	return 0
}

// release takes off the bound what is done with up to an index.
func (l *leadership) release(through uint64) {
	k := 0
	for k < len(l.uncommitted) && l.uncommitted[k].last <= through {
		l.uncommittedBytes -= l.uncommitted[k].bytes
		k++
	}
	l.uncommitted = l.uncommitted[k:]
}
