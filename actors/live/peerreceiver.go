package live

import (
	"sync"
	"sync/atomic"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
)

// PeerReceiver is where a link hands in what comes from peers, and says how the connections stand. It is safe for use by many
// goroutines and never blocks: mailboxes take what they are given.
type PeerReceiver struct {
	nodeID uint64
	system *actor.ActorSystem
	log    zerolog.Logger
	node   *actor.PID

	mu          sync.RWMutex
	replicators map[uint64]*actor.PID // guarded by mu; by the peer they serve

	noReceiver atomic.Uint64
}

func newPeerReceiver(self uint64, system *actor.ActorSystem, logger zerolog.Logger) *PeerReceiver {
	return &PeerReceiver{
		nodeID:      self,
		system:      system,
		log:         logger,
		node:        system.NewLocalPID(actors.NodePath),
		replicators: map[uint64]*actor.PID{},
	}
}

// Self is the id of the node that this inbox belongs to.
func (i *PeerReceiver) NodeID() uint64 { return i.nodeID }

// System is the actor system of the node.
func (i *PeerReceiver) System() *actor.ActorSystem { return i.system }

// Log is the node's logger.
func (i *PeerReceiver) Log() *zerolog.Logger { return &i.log }

// Deliver hands over a message from a peer. The link has checked it (CheckPeerMessage).
func (i *PeerReceiver) Deliver(from uint64, role messages.Role, message messages.PeerMessage) {
	if role == messages.Role_ROLE_REPLICATOR {
		i.deliverOrCount(i.replicator(from), message)
		return
	}
	i.deliverOrCount(i.node, message)
}

// LinkUp tells the Node, and the replicator if there is one, that the connection to a peer stands in both directions.
func (i *PeerReceiver) LinkUp(peer uint64) {
	i.notifyLinkState(peer, &messages.LinkUp{Peer: peer})
}

// LinkDown tells the Node, and the replicator if there is one, that the connection to a peer broke in either direction.
// What was under way is lost, so the replicator needs no EnvelopesDropped besides.
func (i *PeerReceiver) LinkDown(peer uint64, reason string) {
	i.notifyLinkState(peer, &messages.LinkDown{Peer: peer, Reason: reason})
}

// EnvelopesDropped tells the peer's replicator, if there is one, that letters to the peer were given up, so that it does not
// wait for their answers.
func (i *PeerReceiver) EnvelopesDropped(peer uint64) {
	i.sendLocal(i.replicator(peer), &messages.EnvelopesDropped{Peer: peer})
}

func (i *PeerReceiver) notifyLinkState(peer uint64, message proto.Message) {
	i.sendLocal(i.node, message)
	i.sendLocal(i.replicator(peer), message)
}

// post looks the actor up each time: a replicator comes and goes with leadership, and what comes for one that is gone is
// to be dropped without the noise of a dead letter.
func (i *PeerReceiver) deliverOrCount(to *actor.PID, message proto.Message) {
	if !i.sendLocal(to, message) {
		i.noReceiver.Add(1)
	}
}

func (i *PeerReceiver) sendLocal(to *actor.PID, message proto.Message) bool {
	process, ok := i.system.ProcessRegistry.GetLocal(to.Id)
	if ok {
		process.SendUserMessage(to, message)
	}
	return ok
}

func (i *PeerReceiver) replicator(peer uint64) *actor.PID {
	i.mu.RLock()
	pid := i.replicators[peer]
	i.mu.RUnlock()
	if pid != nil {
		return pid
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if pid = i.replicators[peer]; pid == nil {
		pid = i.system.NewLocalPID(actors.ReplicatorPath(peer))
		i.replicators[peer] = pid
	}
	return pid
}
