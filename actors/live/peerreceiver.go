package live

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence"
	"github.com/troupe-raft/troupe/raft"
)

// PeerReceiver delivers the messages of a link to the node's actors, and notifies them of the state
// of its connections. It is safe for use by many goroutines, and it never blocks.
type PeerReceiver struct {
	nodeID uint64
	system *actor.ActorSystem
	log    zerolog.Logger
	node   *actor.PID
	peers  *persistence.PeerStorage // nil in tests: every data directory is admitted
	// linkChanged may be nil; see Options.
	linkChanged func(peer uint64, up bool)

	mu          sync.RWMutex
	replicators map[uint64]*actor.PID // guarded by mu; by the peer that they serve

	noReceiver atomic.Uint64 // messages for an actor that does not run
}

func newPeerReceiver(options *Options) *PeerReceiver {
	system := options.System
	return &PeerReceiver{
		nodeID:      options.ID,
		system:      system,
		log:         options.Logger,
		peers:       options.Peers,
		linkChanged: options.LinkChanged,
		node:        system.NewLocalPID(actors.NodePath),
		replicators: map[uint64]*actor.PID{},
	}
}

// NodeID returns the id of the node.
func (r *PeerReceiver) NodeID() uint64 { return r.nodeID }

// System returns the actor system of the node.
func (r *PeerReceiver) System() *actor.ActorSystem { return r.system }

// Log returns the logger of the node.
func (r *PeerReceiver) Log() *zerolog.Logger { return &r.log }

// Storage returns the node's own data directory, which the link names to peers.
func (r *PeerReceiver) Storage() raft.Storage {
	if r.peers == nil {
		return raft.Storage{}
	}
	return r.peers.Own()
}

// Admit returns an error if no messages may be exchanged with a peer, because it has another data
// directory than before (persistence.PeerStorage). A link calls it for each connection before it
// delivers anything.
func (r *PeerReceiver) Admit(peer uint64, storage raft.Storage) error {
	if r.peers == nil {
		return nil
	}
	err := r.peers.Admit(peer, storage)
	var failed *persistence.PinError
	if errors.As(err, &failed) {
		r.send(r.node, &messages.PinFailed{Peer: peer, Reason: failed.Err.Error()})
	}
	return err
}

// KnownStorage returns the storage id with which a peer is admitted; nil if any is.
func (r *PeerReceiver) KnownStorage(peer uint64) []byte {
	if r.peers == nil {
		return nil
	}
	return r.peers.Known(peer)
}

// StorageRefused notifies the Node that a peer refuses its data directory.
func (r *PeerReceiver) StorageRefused(m *messages.StorageRefused) { r.send(r.node, m) }

// Deliver delivers a message from a peer. The link has checked it with CheckPeerMessage.
func (r *PeerReceiver) Deliver(from uint64, role messages.Receiver, message messages.PeerMessage) {
	if r.peers != nil {
		r.peers.Heard(from)
	}
	to := r.node
	if role == messages.Receiver_RECEIVER_REPLICATOR {
		to = r.replicator(from)
	}
	if !r.send(to, message) {
		r.noReceiver.Add(1)
	}
}

// LinkUp notifies the Node, and the peer's replicator if it runs, that the peer is connected in
// both directions.
func (r *PeerReceiver) LinkUp(peer uint64) {
	r.reportLink(peer, true)
	r.notify(peer, &messages.LinkUp{Peer: peer})
}

// LinkDown notifies the Node, and the peer's replicator if it runs, that the connection broke in
// either direction. Messages in transit are lost, so the replicator needs no EnvelopesDropped too.
func (r *PeerReceiver) LinkDown(peer uint64, reason string) {
	r.reportLink(peer, false)
	r.notify(peer, &messages.LinkDown{Peer: peer, Reason: reason})
}

// reportLink comes before notify, so that the program learns of the connection before it learns
// what the actors did because of it.
func (r *PeerReceiver) reportLink(peer uint64, up bool) {
	if r.linkChanged != nil {
		r.linkChanged(peer, up)
	}
}

// EnvelopesDropped notifies the peer's replicator, if it runs, that messages to the peer were
// dropped, so that it does not wait for their responses.
func (r *PeerReceiver) EnvelopesDropped(peer uint64) {
	r.send(r.replicator(peer), &messages.EnvelopesDropped{Peer: peer})
}

func (r *PeerReceiver) notify(peer uint64, message proto.Message) {
	r.send(r.node, message)
	r.send(r.replicator(peer), message)
}

// send sends to a local actor; it returns false if the actor does not run. It looks the actor up
// each time: a replicator stops when the leadership ends, and late messages to it should make no
// dead letters.
func (r *PeerReceiver) send(to *actor.PID, message proto.Message) bool {
	process, ok := r.system.ProcessRegistry.GetLocal(to.Id)
	if ok {
		process.SendUserMessage(to, message)
	}
	return ok
}

func (r *PeerReceiver) replicator(peer uint64) *actor.PID {
	r.mu.RLock()
	pid := r.replicators[peer]
	r.mu.RUnlock()
	if pid != nil {
		return pid
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if pid = r.replicators[peer]; pid == nil {
		pid = r.system.NewLocalPID(actors.ReplicatorPath(peer))
		r.replicators[peer] = pid
	}
	return pid
}
