// Package node is the Node actor: the roles of Raft, each of them a behaviour of the actor.
//
// # Owns
// Term, vote and role; the log without the bytes on disk: its terms, its configurations, its newest
// entries, the commit index and the durable index (raftLog). It does no I/O and never blocks.
//
// # Receives
// From peers: RequestVote, AppendEntries, Heartbeat, their responses, ForwardedProposals,
// ForwardedRead, ProposalsRefused, TimeoutNow, Removed (which no member of this version sends).
// From the Session: Propose and RequestRead. From troupe.Node: TransferLeadership. From tests:
// Campaign. From its children: Recovered and Durable (LogStore), MachineReady and Pull (Machine),
// ReplicationProgress, Fetch, ResolveConflict and HigherTerm (Replicators). From the link: LinkUp
// and LinkDown. From itself: Flush and Tick.
//
// # Sends
// Append to the LogStore, Committed to the Machine, Replicate and Fetched to the Replicators.
// RequestVote, Heartbeat, TimeoutNow, ForwardedProposals, ForwardedRead, ProposalsRefused and the
// responses to peers. LeaderChanged, ReadPoint and ProposalsRefused to the Session.
//
// # Persists
// Nothing itself. Persist before send: vote requests, granted votes and acknowledgements of entries
// are deferred messages of an Append; the LogStore sends them after the sync (see Node.persist).
//
// # On restart
// All actors of the node stop, and a new incarnation starts from disk in the behaviour
// `recovering`. Messages that carry the number of an earlier incarnation are dropped.
//
// The roles:
//
//	           timeout              quorum of pre-votes          quorum of votes
//	follower ───────────▶ preCandidate ─────────────▶ candidate ─────────────▶ leader
//	   ▲  ▲                 │   ▲ timeout: retry        │ timeout: preCandidate  │
//	   │  └─────────────────┘   └───────────────────────┘                        │
//	   └── higher term, message of the term's leader, (candidate) votes refused, ◀┘
//	       (leader) no quorum, or a transfer because its own disk does not respond
//
// TimeoutNow makes a follower or a preCandidate a candidate without pre-votes.
//
// The files from top to bottom: node.go receives a message and gives it to the behaviour of the
// role: recovering.go, follower.go, precandidate.go, candidate.go, leader.go. What several roles do
// in the same way is in nonleader.go, role.go, election.go, clients.go, append.go and commit.go.
// The state and its rules are in types that know neither the Node nor its roles: raftLog,
// memoryLog, pendingTruncations, leaderContact, roleTimer, proposalBuffer, children, and for the
// leader peerState, readRounds, commitNotifier, diskWatch and uncommittedEntries. Rules that are
// functions of values are in package raft.
package node

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// Config configures a Node.
type Config struct {
	// Incarnation is the number of this start of the node's actors within the process, from 1.
	Incarnation uint64
	// Bootstrap is the first configuration; all members of a new cluster have the same one.
	Bootstrap *messages.Configuration
	// Storage is this node's data directory.
	Storage raft.Storage
	// HeartbeatInterval is the time between two heartbeats of a leader.
	HeartbeatInterval time.Duration
	// ElectionTimeout is the shortest time without contact to a leader after which a follower
	// asks for pre-votes. Each timeout is random between once and twice this.
	ElectionTimeout time.Duration
	Limits          Limits
	// LogStore, Machine and Replicator make the children. The packages of the actors do not import
	// each other; package supervisor connects them.
	LogStore   func() actor.Producer
	Machine    func(reader *actor.PID, replayThrough uint64) actor.Producer
	Replicator func(ReplicatorConfig) actor.Producer
}

// ReplicatorConfig is what a Node knows of a Replicator that it starts.
type ReplicatorConfig struct {
	Peer   uint64
	Reader *actor.PID
	Term   uint64
	// StorageID is the storage id in the configuration in effect; empty if it names none.
	StorageID []byte
	// Replaced: the storage id was set within this term, so that responses of the former directory
	// may still arrive.
	Replaced bool
}

// Limits bound the memory of a Node.
type Limits struct {
	// MaxUncommittedBytes bounds the proposals that wait for a flush or are in the log and not both
	// committed and on the leader's disk. Proposals above it are refused as overloaded.
	MaxUncommittedBytes uint64
	// MaxBatchBytes bounds the entries of one Append, Replicate or ForwardedProposals. A batch has
	// at least one entry, however large it is.
	MaxBatchBytes uint64
	// MemoryBytes bounds the durable entries that stay in memory for Replicators and the Machine.
	MemoryBytes uint64
	// MaxPendingReads bounds the reads that wait for a read point at a leader.
	MaxPendingReads int
}

// Node is the actor. State that exists in one role only belongs to the type of the role.
type Node struct {
	env    actors.Env
	config Config
	ctx    actor.Context // of the message that is being handled

	// behavior is the receive method of role.
	behavior actor.Behavior
	role     role

	// term is the current term; vote is the candidate that received this node's vote in it, 0 for
	// none (Raft, Figure 2: currentTerm, votedFor).
	term, vote uint64
	// log is nil until the LogStore has recovered it.
	log *raftLog
	// quorum decides by the configuration in effect.
	quorum raft.Quorum

	contact  leaderContact
	timer    roleTimer
	children children
	// machineReady: the Machine has reported the applied index. What is applied is committed, even if
	// the last hard state does not say so; so nothing is truncated before.
	machineReady bool
	// pendingPull is the Machine's credit; nil while the Machine applies what it was sent.
	pendingPull *messages.Pull
	proposals   proposalBuffer
	forwards    forwards
	// confirmedIndex is the index of the committed configuration that names this node's data
	// directory.
	confirmedIndex uint64
	rejoin         rejoinWait
	// flushPending: a Flush is in the mailbox. At the Flush a leader appends the proposals, starts a
	// read round and notifies peers of a new commit index; other roles forward or refuse proposals.
	flushPending bool

	// malformed is how many messages were dropped because no member of this version sends them.
	malformed uint64

	// lateHeartbeats is what actors.NodeView reports under that name.
	lateHeartbeats uint64

	// stateChanged makes Receive publish the state at the end of the message.
	stateChanged bool
}

// New returns the producer of a Node.
func New(env actors.Env, config Config) actor.Producer {
	return func() actor.Actor {
		return &Node{
			env:      env,
			config:   config,
			behavior: actor.NewBehavior(),
			contact:  leaderContact{downLinks: make(map[uint64]bool)},
			children: children{stopping: make(map[string]bool)},
		}
	}
}

// Receive handles the start and the end of the actor. The behaviour of the role handles the rest.
func (n *Node) Receive(ctx actor.Context) {
	n.ctx = ctx
	switch m := ctx.Message().(type) {
	case *actor.Started:
		n.start()
	case *actor.Stopping, *actor.Restarting:
		n.timer.stop()
	case *actor.Stopped:
	case proto.Message:
		if !n.isStale(m) {
			n.behavior.Receive(ctx)
		}
	}
	if n.stateChanged {
		n.stateChanged = false
		n.publishState()
	}
}

// start begins in `recovering`, and spawns the LogStore.
func (n *Node) start() {
	n.timer = roleTimer{env: n.env, node: n.ctx.Self(), incarnation: n.config.Incarnation}
	n.become(&recovering{nonLeader{n}})
	n.forwards.stream = n.env.Random().Uint64()
	n.children.spawnLogStore(n.ctx, n.env, n.config.LogStore())
}

// isStale reports whether a local message was meant for an earlier incarnation.
func (n *Node) isStale(m proto.Message) bool {
	local, ok := m.(interface{ GetIncarnation() uint64 })
	return ok && local.GetIncarnation() != n.config.Incarnation
}

func (n *Node) self() uint64 { return n.env.ID() }

// isVoter reports whether this node has a vote in the configuration in effect, and may use it.
func (n *Node) isVoter() bool { return n.quorum.Contains(n.self()) && n.mayVote() }

// mayVote reports whether nothing that this member promised can be forgotten (raft.Storage).
func (n *Node) mayVote() bool {
	_, committed := n.log.configurations.Committed(n.log.commitIndex)
	return n.config.Storage.MayVote(committed, n.self())
}

func (n *Node) send(to *actor.PID, m proto.Message) { n.ctx.Send(to, m) }

// sendToPeer sends m to the Node of a peer. In a live node, Proto.Actor resolves the PID to a
// peerProcess, which passes m to the link (actors/live); the peer's PeerReceiver delivers it.
func (n *Node) sendToPeer(peer uint64, m proto.Message) {
	n.send(n.env.PeerPID(peer, messages.Receiver_RECEIVER_NODE), m)
}

// sendToReplicator sends m to the Replicator of a leader for this node.
func (n *Node) sendToReplicator(leader uint64, m proto.Message) {
	n.send(n.env.PeerPID(leader, messages.Receiver_RECEIVER_REPLICATOR), m)
}

// publishState gives the state observer a copy of the Node's state.
func (n *Node) publishState() {
	observer := n.env.Observer()
	if observer == nil {
		return
	}
	v := actors.NodeView{
		Incarnation: n.config.Incarnation, Role: n.role.name(), Term: n.term, Vote: n.vote, LeaderID: n.contact.leader,
		LateHeartbeats: n.lateHeartbeats,
		LeaderContact:  n.contact.lastMessage,
	}
	if n.log != nil {
		v.Commit, v.DurableIndex, v.DiskLow = n.log.commitIndex, n.log.durableIndex, n.log.diskLow
		v.LastIndex, v.LastTerm = n.log.lastIndex(), n.log.lastTerm()
		v.ConfigurationIndex, v.Configuration = n.log.configurations.Latest()
		v.Learner = !n.quorum.Contains(n.self())
		v.MemoryBytes = n.log.memory.bytes
	}
	observer.Node(n.role.observe(v))
}
