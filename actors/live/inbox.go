package live

import (
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
)

// Inbox is where a link hands in what comes from peers, and says how the connections stand. It is safe for use by many
// goroutines and never blocks: mailboxes take what they are given.
type Inbox struct {
	self   uint64
	system *actor.ActorSystem
	log    zerolog.Logger
	node   *actor.PID

	mu          sync.RWMutex
	replicators map[uint64]*actor.PID // guarded by mu; by the peer they serve

	undelivered atomic.Uint64
}

func newInbox(self uint64, system *actor.ActorSystem, logger zerolog.Logger) *Inbox {
	return &Inbox{
		self:        self,
		system:      system,
		log:         logger,
		node:        system.NewLocalPID(actors.NodePath),
		replicators: map[uint64]*actor.PID{},
	}
}

// Self is the id of the node that this inbox belongs to.
func (i *Inbox) Self() uint64 { return i.self }

// System is the actor system of the node.
func (i *Inbox) System() *actor.ActorSystem { return i.system }

// Log is the node's logger.
func (i *Inbox) Log() *zerolog.Logger { return &i.log }

// Deliver hands over a message from a peer. The link has checked it (CheckLetter).
func (i *Inbox) Deliver(from uint64, role messages.Role, message proto.Message) {
	if role == messages.Role_ROLE_REPLICATOR {
		i.post(i.replicator(from), message)
		return
	}
	i.post(i.node, message)
}

// LinkUp tells the Node, and the replicator if there is one, that the connection to a peer stands in both directions.
func (i *Inbox) LinkUp(peer uint64) {
	i.news(peer, &messages.LinkUp{Peer: peer})
}

// LinkDown tells the Node, and the replicator if there is one, that the connection to a peer broke in either direction.
// What was under way is lost, so the replicator needs no LinkDropped besides.
func (i *Inbox) LinkDown(peer uint64, reason string) {
	i.news(peer, &messages.LinkDown{Peer: peer, Reason: reason})
}

// LinkDropped tells the peer's replicator, if there is one, that letters to the peer were given up, so that it does not
// wait for their answers.
func (i *Inbox) LinkDropped(peer uint64) {
	i.tryPost(i.replicator(peer), &messages.LinkDropped{Peer: peer})
}

func (i *Inbox) news(peer uint64, message proto.Message) {
	i.tryPost(i.node, message)
	i.tryPost(i.replicator(peer), message)
}

// post looks the actor up each time: a replicator comes and goes with leadership, and what comes for one that is gone is
// to be dropped without the noise of a dead letter.
func (i *Inbox) post(to *actor.PID, message proto.Message) {
	if !i.tryPost(to, message) {
		i.undelivered.Add(1)
	}
}

func (i *Inbox) tryPost(to *actor.PID, message proto.Message) bool {
	process, ok := i.system.ProcessRegistry.GetLocal(to.Id)
	if ok {
		process.SendUserMessage(to, message)
	}
	return ok
}

func (i *Inbox) replicator(peer uint64) *actor.PID {
	i.mu.RLock()
	pid := i.replicators[peer]
	i.mu.RUnlock()
	if pid != nil {
		return pid
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if pid = i.replicators[peer]; pid == nil {
		pid = i.system.NewLocalPID(replicatorPath(peer))
		i.replicators[peer] = pid
	}
	return pid
}

// replicatorPath names the replicator that a node keeps for a peer.
func replicatorPath(peer uint64) string {
	return actors.NodePath + "/" + actors.PeerPrefix + strconv.FormatUint(peer, 16)
}
