package live

import (
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
)

// peers makes the PIDs of other nodes' actors, and resolves them: Proto.Actor asks an AddressResolver for the process
// behind a PID of another address, once a PID, and remembers it in the PID. The process is an outlet, which stays the same
// for a peer and role whatever becomes of the peer's address and connection; so a PID, once made, works for ever.
//
// A PID that is not of this house (another address, or an id that no peer's actor has) falls through to the next resolver:
// an application may use Proto.Actor's remote in the same system.
type peers struct {
	self    uint64
	address string // of this node's actor system
	link    Link

	known atomic.Pointer[map[uint64]string]  // addresses of the members, own excluded; replaced, never changed
	book  atomic.Pointer[map[string]outlets] // by address, former ones included; replaced, never changed

	mu   sync.Mutex
	pids map[peerKey]*actor.PID // guarded by mu
	all  map[uint64]outlets     // guarded by mu; by id

	unaddressed atomic.Uint64
	refused     atomic.Uint64
}

type peerKey struct {
	id   uint64
	role messages.Role
}

// outlets are the processes that stand for the actors of one peer.
type outlets struct{ node, replicator *outlet }

func newPeers(self uint64, address string, link Link) *peers {
	p := &peers{self: self, address: address, link: link, pids: map[peerKey]*actor.PID{}, all: map[uint64]outlets{}}
	p.known.Store(&map[uint64]string{})
	p.book.Store(&map[string]outlets{})
	return p
}

// set takes up the members' addresses. PIDs made from now on carry them.
func (p *peers) set(members []*messages.Member) {
	p.mu.Lock()
	defer p.mu.Unlock()
	known := make(map[uint64]string, len(members))
	book := make(map[string]outlets, len(members))
	for address, former := range *p.book.Load() {
		book[address] = former
	}
	for _, member := range members {
		if member.GetId() == p.self {
			continue
		}
		known[member.GetId()] = member.GetAddress()
		book[member.GetAddress()] = p.outletsOf(member.GetId())
	}
	p.known.Store(&known)
	p.book.Store(&book)
	for key, pid := range p.pids {
		if address, ok := known[key.id]; ok && address != pid.Address {
			delete(p.pids, key)
		}
	}
}

// pid names an actor of a peer. The peer's replicator is the one which that node keeps for us. The node's own id names its
// own Node.
func (p *peers) pid(id uint64, role messages.Role) *actor.PID {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := peerKey{id, role}
	if pid := p.pids[key]; pid != nil {
		return pid
	}
	address, ok := (*p.known.Load())[id]
	if id == p.self {
		address, ok = p.address, true // its own registry resolves it
	}
	if !ok {
		// A name that no host has, so that the PID finds its outlet all the same; once the peer is known it works.
		address = "unknown-peer-" + strconv.FormatUint(id, 16)
		book := make(map[string]outlets, len(*p.book.Load())+1)
		for known, outlets := range *p.book.Load() {
			book[known] = outlets
		}
		book[address] = p.outletsOf(id)
		p.book.Store(&book)
	}
	path := actors.NodePath
	if role == messages.Role_ROLE_REPLICATOR {
		path = replicatorPath(p.self)
	}
	pid := actor.NewPID(address, path)
	p.pids[key] = pid
	return pid
}

func (p *peers) outletsOf(id uint64) outlets {
	o, ok := p.all[id]
	if !ok {
		o = outlets{
			node:       &outlet{peers: p, to: id, role: messages.Role_ROLE_NODE},
			replicator: &outlet{peers: p, to: id, role: messages.Role_ROLE_REPLICATOR},
		}
		p.all[id] = o
	}
	return o
}

// resolve is the actor.AddressResolver of the node.
func (p *peers) resolve(pid *actor.PID) (actor.Process, bool) {
	o, ok := (*p.book.Load())[pid.Address]
	if !ok {
		return nil, false
	}
	switch pid.Id {
	case actors.NodePath:
		return o.node, true
	case replicatorPath(p.self):
		return o.replicator, true
	}
	return nil, false
}

// outlet is the process behind the PID of a peer's actor.
type outlet struct {
	peers *peers
	to    uint64
	role  messages.Role
}

func (o *outlet) SendUserMessage(_ *actor.PID, message any) {
	_, inner, _ := actor.UnwrapEnvelope(message)
	letter, ok := inner.(proto.Message)
	if ok {
		_, ok = Sender(letter)
	}
	if !ok {
		o.peers.refused.Add(1)
		return
	}
	if _, known := (*o.peers.known.Load())[o.to]; !known {
		o.peers.unaddressed.Add(1)
		return
	}
	o.peers.link.Send(o.to, o.role, letter)
}

// SendSystemMessage drops: nobody watches, stops or restarts an actor of another node.
func (o *outlet) SendSystemMessage(*actor.PID, any) { o.peers.refused.Add(1) }

func (o *outlet) Stop(*actor.PID) { o.peers.refused.Add(1) }
