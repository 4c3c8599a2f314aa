package live

import (
	"maps"
	"sync"
	"sync/atomic"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// peerResolver makes the PIDs of other nodes' actors and resolves them to processes.
//
// Proto.Actor calls an AddressResolver once for each PID of another address and stores the process
// in the PID. The process is a peerProcess, one for each peer and role. It remains valid when the
// peer's address or connection changes, so a PID never becomes invalid.
//
// A PID that names no actor of a peer is left to the next resolver: an application may use
// Proto.Actor's remote in the same system.
type peerResolver struct {
	nodeID  uint64
	address string // of this node's actor system
	link    PeerLink

	// Readers take no lock: the maps are replaced, never changed.
	memberAddresses atomic.Pointer[map[uint64]string]        // of the other members, by id
	byAddress       atomic.Pointer[map[string]peerProcesses] // includes former addresses

	mu   sync.Mutex
	pids map[peerKey]*actor.PID   // guarded by mu
	byID map[uint64]peerProcesses // guarded by mu

	unknownPeer    atomic.Uint64
	notPeerMessage atomic.Uint64
}

type peerKey struct {
	id   uint64
	role messages.Receiver
}

// peerProcesses are the processes for the actors of one peer.
type peerProcesses struct{ node, replicator *peerProcess }

func newPeerResolver(nodeID uint64, address string, link PeerLink) *peerResolver {
	p := &peerResolver{
		nodeID: nodeID, address: address, link: link,
		pids: map[peerKey]*actor.PID{}, byID: map[uint64]peerProcesses{},
	}
	p.memberAddresses.Store(&map[uint64]string{})
	p.byAddress.Store(&map[string]peerProcesses{})
	return p
}

// setMembers replaces the members' addresses. PIDs that are made later contain them.
func (p *peerResolver) setMembers(members []*messages.Member) {
	p.mu.Lock()
	defer p.mu.Unlock()
	addresses := make(map[uint64]string, len(members))
	byAddress := maps.Clone(*p.byAddress.Load())
	for _, member := range members {
		if member.GetId() == p.nodeID {
			continue
		}
		addresses[member.GetId()] = member.GetAddress()
		byAddress[member.GetAddress()] = p.processesOf(member.GetId())
	}
	p.memberAddresses.Store(&addresses)
	p.byAddress.Store(&byAddress)
	for key, pid := range p.pids {
		if address, ok := addresses[key.id]; ok && address != pid.Address {
			delete(p.pids, key)
		}
	}
}

// pid returns the PID of an actor of a peer. RECEIVER_REPLICATOR is the replicator that the peer
// runs for this node. The node's own id gives its own Node.
func (p *peerResolver) pid(id uint64, role messages.Receiver) *actor.PID {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := peerKey{id, role}
	if pid := p.pids[key]; pid != nil {
		return pid
	}
	address, ok := (*p.memberAddresses.Load())[id]
	if id == p.nodeID {
		address, ok = p.address, true // its own registry resolves it
	}
	if !ok {
		// No host has this name. The PID resolves all the same, and works as soon as the peer is a
		// member.
		address = "unknown-peer-" + raft.FormatID(id)
		byAddress := maps.Clone(*p.byAddress.Load())
		byAddress[address] = p.processesOf(id)
		p.byAddress.Store(&byAddress)
	}
	path := actors.NodePath
	if role == messages.Receiver_RECEIVER_REPLICATOR {
		path = actors.ReplicatorPath(p.nodeID)
	}
	pid := actor.NewPID(address, path)
	p.pids[key] = pid
	return pid
}

// processesOf is called with mu held.
func (p *peerResolver) processesOf(id uint64) peerProcesses {
	processes, ok := p.byID[id]
	if !ok {
		processes = peerProcesses{
			node:       &peerProcess{resolver: p, to: id, role: messages.Receiver_RECEIVER_NODE},
			replicator: &peerProcess{resolver: p, to: id, role: messages.Receiver_RECEIVER_REPLICATOR},
		}
		p.byID[id] = processes
	}
	return processes
}

// resolve is the actor.AddressResolver of the node.
func (p *peerResolver) resolve(pid *actor.PID) (actor.Process, bool) {
	processes, ok := (*p.byAddress.Load())[pid.Address]
	if !ok {
		return nil, false
	}
	switch pid.Id {
	case actors.NodePath:
		return processes.node, true
	case actors.ReplicatorPath(p.nodeID):
		return processes.replicator, true
	}
	return nil, false
}

// peerProcess is the process behind the PID of a peer's actor: it passes messages to the link.
type peerProcess struct {
	resolver *peerResolver
	to       uint64
	role     messages.Receiver
}

func (p *peerProcess) SendUserMessage(_ *actor.PID, message any) {
	_, inner, _ := actor.UnwrapEnvelope(message)
	peerMessage, ok := inner.(messages.PeerMessage)
	if !ok {
		p.resolver.notPeerMessage.Add(1)
		return
	}
	if _, known := (*p.resolver.memberAddresses.Load())[p.to]; !known {
		p.resolver.unknownPeer.Add(1)
		return
	}
	p.resolver.link.Send(p.to, p.role, peerMessage)
}

// SendSystemMessage drops the message: a node does not watch, stop or restart actors of other
// nodes.
func (p *peerProcess) SendSystemMessage(*actor.PID, any) { p.resolver.notPeerMessage.Add(1) }

func (p *peerProcess) Stop(*actor.PID) { p.resolver.notPeerMessage.Add(1) }
