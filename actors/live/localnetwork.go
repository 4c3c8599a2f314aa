package live

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/troupe-raft/troupe/messages"
)

// LocalNetwork links nodes of one process: messages are handed over by pointer, which is sound since they are immutable. Tests
// cut, delay and drop on it.
//
// Sending takes no lock: who listens, who knows whom and what is broken stands in one immutable picture, which a change
// replaces. As over a real link, a message passes only between nodes that know each other.
type LocalNetwork struct {
	mu         sync.Mutex                                  // held by whoever makes the next picture
	state      atomic.Pointer[networkState]                // never nil
	up         map[route]bool                              // guarded by mu; the pairs whose ends were told LinkUp
	delayLines sync.Map                                    // pair → *line, for delayed messages
	filter     atomic.Pointer[func(MessageInTransit) bool] // nil: all pass
}

// MessageInTransit is a message on its way, for a filter of a test.
type MessageInTransit struct {
	From, To uint64
	Role     messages.Role
	Message  messages.PeerMessage
}

// picture is the state of a LocalNetwork. Its maps are never changed.
type networkState struct {
	links map[uint64]*localLink
	cut   map[route]bool
	delay map[route]time.Duration
}

// pair is a direction.
type route struct{ from, to uint64 }

func (p route) reverse() route { return route{p.to, p.from} }

// NewLocalNetwork makes a network without nodes.
func NewLocalNetwork() *LocalNetwork {
	n := &LocalNetwork{up: map[route]bool{}}
	n.state.Store(&networkState{})
	return n
}

// PeerLink makes the link of one more node; it joins when its Env starts it.
func (n *LocalNetwork) Link() PeerLink {
	l := &localLink{network: n}
	l.peers.Store(&map[uint64]*localPeer{})
	return l
}

// Cut breaks the connection of a and b, both ways; both hear LinkDown.
func (n *LocalNetwork) Cut(a, b uint64) {
	n.update("cut", func(p *networkState) { p.cut[route{a, b}], p.cut[route{b, a}] = true, true })
}

// CutOneWay loses what from sends to to. As over TCP, where acknowledgements are lost too, both hear LinkDown.
func (n *LocalNetwork) CutOneWay(from, to uint64) {
	n.update("cut", func(p *networkState) { p.cut[route{from, to}] = true })
}

// Heal mends the connection of a and b, both ways.
func (n *LocalNetwork) Heal(a, b uint64) {
	n.update("", func(p *networkState) {
		delete(p.cut, route{a, b})
		delete(p.cut, route{b, a})
	})
}

// Isolate cuts a node off from all others that are on the network now.
func (n *LocalNetwork) Isolate(id uint64) {
	n.update("cut", func(p *networkState) {
		for other := range p.links {
			if other != id {
				p.cut[route{id, other}], p.cut[route{other, id}] = true, true
			}
		}
	})
}

// HealAll ends all cuts and delays.
func (n *LocalNetwork) HealAll() {
	n.update("", func(p *networkState) { p.cut, p.delay = map[route]bool{}, map[route]time.Duration{} })
}

// Delay makes what from sends to to arrive later by d, in order; 0 ends it.
func (n *LocalNetwork) Delay(from, to uint64, d time.Duration) {
	n.update("", func(p *networkState) {
		delete(p.delay, route{from, to})
		if d > 0 {
			p.delay[route{from, to}] = d
		}
	})
}

// Filter is asked about every message, from the goroutine of its sender; those it says false to are lost. Nil: all pass.
func (n *LocalNetwork) Filter(passes func(MessageInTransit) bool) {
	if passes == nil {
		n.filter.Store(nil)
		return
	}
	n.filter.Store(&passes)
}

// change draws the next picture and tells the ends of every connection that came or went.
func (n *LocalNetwork) update(reason string, draw func(*networkState)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := n.state.Load()
	next := &networkState{links: map[uint64]*localLink{}, cut: map[route]bool{}, delay: map[route]time.Duration{}}
	maps.Copy(next.links, now.links)
	maps.Copy(next.cut, now.cut)
	maps.Copy(next.delay, now.delay)
	draw(next)
	n.state.Store(next)
	ids := slices.Sorted(maps.Keys(next.links))
	for _, a := range ids {
		for _, b := range ids {
			if a < b {
				n.notifyEnds(route{a, b}, next.connected(route{a, b}), next, reason)
			}
		}
	}
	for gone := range n.up {
		if next.links[gone.from] == nil || next.links[gone.to] == nil {
			n.notifyEnds(gone, false, next, reason)
		}
	}
}

// announce tells both ends what became of their connection. The caller holds n.mu.
func (n *LocalNetwork) notifyEnds(p route, up bool, next *networkState, reason string) {
	if n.up[p] == up {
		return
	}
	if up {
		n.up[p] = true
	} else {
		delete(n.up, p)
	}
	for _, end := range []route{p, p.reverse()} {
		if link := next.links[end.from]; link != nil {
			link.linkStateChanged(end.to, up, reason)
		}
	}
}

// connected tells whether two nodes know each other and nothing is cut between them.
func (p *networkState) connected(between route) bool {
	a, b := p.links[between.from], p.links[between.to]
	return a != nil && b != nil && a.peer(between.to) != nil && b.peer(between.from) != nil && !p.cut[between] && !p.cut[between.reverse()]
}

// line is one direction on which messages are delayed. What is on the line arrives in order.
type delayLine struct {
	mu     sync.Mutex
	queued []func() // guarded by mu
}

func (n *LocalNetwork) sendDelayed(p route, d time.Duration, deliver func()) {
	entry, _ := n.delayLines.LoadOrStore(p, &delayLine{})
	l := entry.(*delayLine)
	l.mu.Lock()
	l.queued = append(l.queued, deliver)
	l.mu.Unlock()
	time.AfterFunc(d, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		first := l.queued[0]
		l.queued = l.queued[1:]
		first()
	})
}

// localLink is one node's end.
type localLink struct {
	network  *LocalNetwork
	receiver *PeerReceiver
	peers    atomic.Pointer[map[uint64]*localPeer] // those it knows; replaced, never changed
}

// localPeer is what a node's end knows of another.
type localPeer struct {
	sent, received, dropped atomic.Uint64

	mu      sync.Mutex
	address string // guarded by mu
	up      bool   // guarded by mu
	since   int64  // guarded by mu
	reason  string // guarded by mu
}

func (p *localPeer) setAddress(address string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.address = address
}

func (l *localLink) Start(inbox *PeerReceiver) {
	l.receiver = inbox
	l.network.update("", func(p *networkState) { p.links[inbox.NodeID()] = l })
}

func (l *localLink) SetPeers(members []*messages.Member) {
	l.network.update("not a peer any more", func(*networkState) {
		now := *l.peers.Load()
		next := make(map[uint64]*localPeer, len(members))
		for _, member := range members {
			id := member.GetId()
			if id == l.receiver.NodeID() {
				continue
			}
			peer := now[id]
			if peer == nil {
				peer = &localPeer{since: nanosSinceStart(), reason: "not connected yet"}
			}
			peer.setAddress(member.GetAddress())
			next[id] = peer
		}
		l.peers.Store(&next)
	})
}

func (l *localLink) peer(id uint64) *localPeer { return (*l.peers.Load())[id] }

func (l *localLink) Send(to uint64, role messages.Role, message messages.PeerMessage) {
	peer := l.peer(to)
	if peer == nil {
		return
	}
	if l.tryDeliver(to, role, message) {
		peer.sent.Add(1)
	} else {
		peer.dropped.Add(1)
	}
}

// pass hands a message over, or to the line that delays it, unless something lies in its way.
func (l *localLink) tryDeliver(to uint64, role messages.Role, message messages.PeerMessage) bool {
	from := l.receiver.NodeID()
	direction := route{from, to}
	picture := l.network.state.Load()
	other := picture.links[to]
	if picture.links[from] != l || other == nil || picture.cut[direction] {
		return false
	}
	us := other.peer(from)
	if us == nil {
		return false
	}
	if passes := l.network.filter.Load(); passes != nil && !(*passes)(MessageInTransit{from, to, role, message}) {
		return false
	}
	deliver := func() {
		us.received.Add(1)
		other.receiver.Deliver(from, role, message)
	}
	if d := picture.delay[direction]; d > 0 {
		l.network.sendDelayed(direction, d, func() {
			if now := l.network.state.Load(); now.links[to] == other && !now.cut[direction] {
				deliver()
			}
		})
		return true
	}
	deliver()
	return true
}

// told passes on what became of a connection. The network's lock is held: the order of news is the order of changes.
func (l *localLink) linkStateChanged(id uint64, up bool, reason string) {
	if peer := l.peer(id); peer != nil {
		peer.mu.Lock()
		peer.up, peer.since, peer.reason = up, nanosSinceStart(), reason
		peer.mu.Unlock()
	}
	if up {
		l.receiver.LinkUp(id)
		return
	}
	l.receiver.LinkDown(id, reason)
}

// Close leaves the network; the others hear LinkDown as they would of a process that ended.
func (l *localLink) Close() {
	l.network.update("peer closed", func(p *networkState) {
		if p.links[l.receiver.NodeID()] == l {
			delete(p.links, l.receiver.NodeID())
		}
	})
}

// Stats describes the peers, by id.
func (l *localLink) Stats() []PeerStat {
	peers := *l.peers.Load()
	stats := make([]PeerStat, 0, len(peers))
	for _, id := range slices.Sorted(maps.Keys(peers)) {
		stats = append(stats, peers[id].stat(id))
	}
	return stats
}

func (p *localPeer) stat(id uint64) PeerStat {
	p.mu.Lock()
	defer p.mu.Unlock()
	return PeerStat{
		ID: id, Address: p.address,
		Up: p.up, Reason: p.reason, StateDuration: time.Duration(nanosSinceStart() - p.since),
		EnvelopesSent: p.sent.Load(), EnvelopesReceived: p.received.Load(), Dropped: p.dropped.Load(),
	}
}
