// Package node is the Node actor: Raft's roles as behaviours.
//
// # Owns
// Term, vote, role, the configuration in effect, commitIndex, what is known of the log (raft.LogTerms) and the newest
// part of it in memory. It never touches a disk or a socket, and it never waits for anything but its next message.
//
// # Hears
// From peers: votes, appends, heartbeats, forwarded proposals and reads, TimeoutNow, Removed. From its handle: Propose,
// RequestRead, TransferLeadership, Campaign. From its children: Recovered and Durable (LogStore), MachineReady and Pull
// (Machine), Progress, Fetch, Resolve and HigherTerm (Replicators). From the link: LinkUp, LinkDown. From itself: Flush, Tick.
//
// # Says
// Append to the LogStore, Committed to the Machine, Replicate and Fetched to the Replicators; vote requests, heartbeats and
// answers to peers; LeaderChanged, ReadPoint and ProposalsRefused to the handle.
//
// # Persists
// Nothing itself. What must be durable before it is said travels to the LogStore together with what is to be said
// (write, then speak): vote requests, granted votes and append acknowledgements are Promises of an Append.
//
// # On a crash
// The whole subtree is stopped and a new incarnation starts from disk, in the behaviour `recovering`. Messages of the old
// incarnation that are still under way are dropped by their number.
//
// The roles:
//
//	           timeout                quorum of pre-votes        quorum of votes
//	follower ───────────▶ preCandidate ─────────────▶ candidate ─────────────▶ leader
//	   ▲  ▲                  │  ▲ timeout: once more     │ timeout: preCandidate  │
//	   │  └──────────────────┘  └────────────────────────┘                       │
//	   └──── a higher term, a leader of the term, or (leader) no quorum heard ◀──┘
package node

import (
	"fmt"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// Config is what a Node is made with.
type Config struct {
	// Incarnation counts the lives of this node's subtree in this process, from 1.
	Incarnation uint64
	// Bootstrap is the first configuration; every member of a new cluster has the same.
	Bootstrap *messages.Configuration
	// Heartbeat is how often an idle leader lets itself be heard; Election is the least time without a leader after which
	// a follower asks for pre-votes (the timeout is random between once and twice this).
	HeartbeatInterval time.Duration
	ElectionTimeout   time.Duration
	Limits            Limits
	// LogStore, Machine and Replicator make the children. The actors' packages do not know each other; supervisor/ does.
	LogStore   func() actor.Producer
	Machine    func(reader *actor.PID, replayThrough uint64) actor.Producer
	Replicator func(peer uint64, reader *actor.PID, term uint64) actor.Producer
}

// Limits bound what a Node keeps.
type Limits struct {
	// MaxUncommittedBytes of proposals may be in the log (or collected for it) before they are committed and on the leader's
	// own disk. Above it proposals are refused as overloaded.
	MaxUncommittedBytes uint64
	// MaxBatchBytes of entries go into one Append, one Replicate and one ForwardedProposals (at least one entry does).
	MaxBatchBytes uint64
	// LogMemoryBytes of the log's newest durable entries are kept for replicators and the Machine.
	MemoryBytes uint64
	// MaxPendingReads is how many read points may be waited for.
	MaxPendingReads int
}

// DefaultLimits are generous for a server of a few cores.
func DefaultLimits() Limits {
	return Limits{
		MaxUncommittedBytes: 64 << 20,
		MaxBatchBytes:       1 << 20,
		MemoryBytes:         32 << 20,
		MaxPendingReads:     65536,
	}
}

// Node is the actor.
type Node struct {
	env      actors.Env
	config   Config
	behavior actor.Behavior
	role     string
	ctx      actor.Context // of the message in hand

	// What must never be forgotten, and what is derived from the log.
	term, vote     uint64
	log            *raft.LogTerms
	memory         *memoryLog
	configurations *raft.ConfigurationHistory
	quorum         raft.Quorum
	members        *messages.Configuration // the configuration in effect
	commitIndex    uint64
	// durable is the last index that this node's own disk is known to hold of its present log.
	durableIndex uint64
	// durableTerm is the term that it is known to hold.
	durableTerm uint64
	// truncations that the LogStore may not have reached: a Durable of before them is worth less than it says (E12).
	truncations pendingTruncations
	// persistedCommit is the commit index that the LogStore was last told.
	persistedCommit uint64
	diskLow         bool

	// Children.
	logStore, reader, machine *actor.PID
	// pull is the Machine's standing credit, nil while it works.
	pendingPull *messages.Pull
	// stopping holds replicators that were told to stop and have not yet: their names are taken until then.
	stoppingReplicators map[string]bool

	// Liveness.
	leaderID            uint64 // 0: none known
	lastLeaderContact   time.Duration
	leaderLinkBroken    bool            // the link to the known leader broke, and it was not heard since
	ignoreLeaderUntil   time.Duration   // what it says until then may have been said before its link broke
	brokenLinks         map[uint64]bool // peers whose link broke and has not come back
	fastCampaignUntil   time.Duration
	fastCampaignStarted time.Duration
	fastCampaignTerm    uint64 // the term whose leader's link broke then
	timer               actors.Timer
	timerNumber         uint64
	timerDue            time.Duration // when the timer fires
	deadline            time.Duration // when the role's own timeout is due, at the timer or later

	campaign   *campaign   // preCandidate and candidate only
	leadership *leadership // leader only

	// Work collected until the own Flush.
	flushPending bool
	pending      pendingWork
	stateChanged bool
	// forwardStream names this life to the leader, forwarded counts what was forwarded in it.
	forwardStream, forwardedCount uint64
}

// New makes the producer of a Node.
func New(env actors.Env, config Config) actor.Producer {
	return func() actor.Actor {
		return &Node{
			env:                 env,
			config:              config,
			behavior:            actor.NewBehavior(),
			stoppingReplicators: make(map[string]bool),
			brokenLinks:         make(map[uint64]bool),
		}
	}
}

// Receive takes lifecycle messages itself; what all roles share is said once (shared.go), the rest is the behaviour's.
func (n *Node) Receive(ctx actor.Context) {
	n.ctx = ctx
	switch m := ctx.Message().(type) {
	case *actor.Started:
		n.start()
	case *actor.Stopping, *actor.Restarting:
		n.stopTimer()
	case *actor.Stopped:
	case *actor.Terminated:
		n.handleTerminated(m.Who)
	case proto.Message:
		n.receive(m)
	}
	if n.stateChanged {
		n.stateChanged = false
		n.publishState()
	}
}

func (n *Node) receive(m proto.Message) {
	if n.isStale(m) {
		return
	}
	if n.role != roleRecovering && n.stepCommon(m) {
		return
	}
	n.behavior.Receive(n.ctx)
}

// stale tells whether a local message was meant for an earlier incarnation.
func (n *Node) isStale(m proto.Message) bool {
	local, ok := m.(interface{ GetIncarnation() uint64 })
	return ok && local.GetIncarnation() != n.config.Incarnation
}

// The roles by name, as status and logs show them.
const (
	roleRecovering   = "recovering"
	roleFollower     = "follower"
	rolePreCandidate = "preCandidate"
	roleCandidate    = "candidate"
	roleLeader       = "leader"
)

func (n *Node) become(role string, behavior actor.ReceiveFunc) {
	n.role = role
	n.behavior.Become(behavior)
	n.stateChanged = true
}

// send says m to an actor of this node, or of a peer.
func (n *Node) send(to *actor.PID, m proto.Message) { n.ctx.Send(to, m) }

// tell says m to the Node of a peer.
func (n *Node) sendToPeer(peer uint64, m proto.Message) {
	n.ctx.Send(n.env.PeerPID(peer, messages.Role_ROLE_NODE), m)
}

// invariant panics with the values that broke it: the actor dies and supervision decides.
func invariant(holds bool, format string, values ...any) {
	if !holds {
		panic(fmt.Errorf("broken invariant: "+format, values...))
	}
}

func (n *Node) self() uint64 { return n.env.ID() }

// isVoter tells whether this node votes in the configuration in effect.
func (n *Node) isVoter() bool { return n.quorum.Contains(n.self()) }
