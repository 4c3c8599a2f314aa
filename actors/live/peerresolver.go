package live

import (
	"sync"
	"sync/atomic"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// peers makes the PIDs of other nodes' actors, and resolves them: Proto.Actor asks an AddressResolver for the process
// behind a PID of another address, once a PID, and remembers it in the PID. The process is an outlet, which stays the same
// for a peer and role whatever becomes of the peer's address and connection; so a PID, once made, works for ever.
//
// A PID that is not of this house (another address, or an id that no peer's actor has) falls through to the next resolver:
// an application may use Proto.Actor's remote in the same system.
type peerResolver struct {
	nodeID  uint64
	address string // of this node's actor system
	link    PeerLink

	memberAddresses atomic.Pointer[map[uint64]string]        // addresses of the members, own excluded; replaced, never changed
	byAddress       atomic.Pointer[map[string]peerProcesses] // by address, former ones included; replaced, never changed

	mu   sync.Mutex
	pids map[peerKey]*actor.PID   // guarded by mu
	byID map[uint64]peerProcesses // guarded by mu; by id

	unknownPeer    atomic.Uint64
	notPeerMessage atomic.Uint64
}

type peerKey struct {
	id   uint64
	role messages.Role
}

// outlets are the processes that stand for the actors of one peer.
type peerProcesses struct{ node, replicator *peerProcess }

func newPeerResolver(self uint64, address string, link PeerLink) *peerResolver {
	p := &peerResolver{nodeID: self, address: address, link: link, pids: map[peerKey]*actor.PID{}, byID: map[uint64]peerProcesses{}}
	p.memberAddresses.Store(&map[uint64]string{})
	p.byAddress.Store(&map[string]peerProcesses{})
	return p
}

// set takes up the members' addresses. PIDs made from now on carry them.
func (p *peerResolver) setMembers(members []*messages.Member) {
	p.mu.Lock()
	defer p.mu.Unlock()
	known := make(map[uint64]string, len(members))
	book := make(map[string]peerProcesses, len(members))
	for address, former := range *p.byAddress.Load() {
		book[address] = former
	}
	for _, member := range members {
		if member.GetId() == p.nodeID {
			continue
		}
		known[member.GetId()] = member.GetAddress()
		book[member.GetAddress()] = p.processesOf(member.GetId())
	}
	p.memberAddresses.Store(&known)
	p.byAddress.Store(&book)
	for key, pid := range p.pids {
		if address, ok := known[key.id]; ok && address != pid.Address {
			delete(p.pids, key)
		}
	}
}

// pid names an actor of a peer. The peer's replicator is the one which that node keeps for us. The node's own id names its
// own Node.
func (p *peerResolver) pid(id uint64, role messages.Role) *actor.PID {
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
		// A name that no host has, so that the PID finds its outlet all the same; once the peer is known it works.
		address = "unknown-peer-" + raft.FormatID(id)
		book := make(map[string]peerProcesses, len(*p.byAddress.Load())+1)
		for known, outlets := range *p.byAddress.Load() {
			book[known] = outlets
		}
		book[address] = p.processesOf(id)
		p.byAddress.Store(&book)
	}
	path := actors.NodePath
	if role == messages.Role_ROLE_REPLICATOR {
		path = actors.ReplicatorPath(p.nodeID)
	}
	pid := actor.NewPID(address, path)
	p.pids[key] = pid
	return pid
}

func (p *peerResolver) processesOf(id uint64) peerProcesses {
	o, ok := p.byID[id]
	if !ok {
		o = peerProcesses{
			node:       &peerProcess{resolver: p, to: id, role: messages.Role_ROLE_NODE},
			replicator: &peerProcess{resolver: p, to: id, role: messages.Role_ROLE_REPLICATOR},
		}
		p.byID[id] = o
	}
	return o
}

// resolve is the actor.AddressResolver of the node.
func (p *peerResolver) resolve(pid *actor.PID) (actor.Process, bool) {
	o, ok := (*p.byAddress.Load())[pid.Address]
	if !ok {
		return nil, false
	}
	switch pid.Id {
	case actors.NodePath:
		return o.node, true
	case actors.ReplicatorPath(p.nodeID):
		return o.replicator, true
	}
	return nil, false
}

// outlet is the process behind the PID of a peer's actor.
type peerProcess struct {
	resolver *peerResolver
	to       uint64
	role     messages.Role
}

func (o *peerProcess) SendUserMessage(_ *actor.PID, message any) {
	_, inner, _ := actor.UnwrapEnvelope(message)
	peerMessage, ok := inner.(messages.PeerMessage)
	if !ok {
		o.resolver.notPeerMessage.Add(1)
		return
	}
	if _, known := (*o.resolver.memberAddresses.Load())[o.to]; !known {
		o.resolver.unknownPeer.Add(1)
		return
	}
	o.resolver.link.Send(o.to, o.role, peerMessage)
}

// SendSystemMessage drops: nobody watches, stops or restarts an actor of another node.
func (o *peerProcess) SendSystemMessage(*actor.PID, any) { o.resolver.notPeerMessage.Add(1) }

func (o *peerProcess) Stop(*actor.PID) { o.resolver.notPeerMessage.Add(1) }
