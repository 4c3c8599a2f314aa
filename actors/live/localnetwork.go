package live

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence"
)

// LocalNetwork links the nodes of one process. It passes messages by pointer, since they are
// immutable. Tests cut, delay and drop messages on it.
//
// Send takes no lock: the nodes and the faults are one immutable networkState, which a change
// replaces. As over a real link, a message passes only between nodes that are peers of each other.
type LocalNetwork struct {
	mu    sync.Mutex                   // held while state is replaced
	state atomic.Pointer[networkState] // never nil
	// Guarded by mu; the pairs that received LinkUp
	up         map[route]bool
	delayLines sync.Map                                    // route → *delayLine
	filter     atomic.Pointer[func(MessageInTransit) bool] // nil: all messages pass
}

// MessageInTransit is a message that a test's filter accepts or drops.
type MessageInTransit struct {
	From, To uint64
	Role     messages.Receiver
	Message  messages.PeerMessage
}

// networkState is the state of a LocalNetwork. Its maps never change.
type networkState struct {
	links map[uint64]*localLink
	cut   map[route]bool
	delay map[route]time.Duration
	// refused are the pairs of which one does not admit the data directory of the other, in both
	// directions.
	refused map[route]bool
}

// route is one direction between two nodes.
type route struct{ from, to uint64 }

func (r route) reverse() route { return route{r.to, r.from} }

// NewLocalNetwork makes a network without nodes.
func NewLocalNetwork() *LocalNetwork {
	n := &LocalNetwork{up: map[route]bool{}}
	n.state.Store(&networkState{map[uint64]*localLink{}, map[route]bool{}, map[route]time.Duration{}, map[route]bool{}})
	return n
}

// Link makes the link of one more node. The node joins when its Env starts the link.
func (n *LocalNetwork) Link() PeerLink {
	l := &localLink{network: n}
	l.peers.Store(&map[uint64]*localPeer{})
	return l
}

// Cut breaks the connection of a and b in both directions. Both receive LinkDown.
func (n *LocalNetwork) Cut(a, b uint64) {
	n.update("cut", func(s *networkState) { s.cut[route{a, b}], s.cut[route{b, a}] = true, true })
}

// CutOneWay drops what `from` sends to `to`. Both receive LinkDown, as over TCP, where
// acknowledgements are lost too.
func (n *LocalNetwork) CutOneWay(from, to uint64) {
	n.update("cut", func(s *networkState) { s.cut[route{from, to}] = true })
}

// Heal ends the cuts between a and b in both directions.
func (n *LocalNetwork) Heal(a, b uint64) {
	n.update("", func(s *networkState) {
		delete(s.cut, route{a, b})
		delete(s.cut, route{b, a})
	})
}

// Isolate cuts the connections of a node to all others that are on the network.
func (n *LocalNetwork) Isolate(id uint64) {
	n.update("cut", func(s *networkState) {
		for other := range s.links {
			if other != id {
				s.cut[route{id, other}], s.cut[route{other, id}] = true, true
			}
		}
	})
}

// HealAll ends all cuts and delays.
func (n *LocalNetwork) HealAll() {
	n.update("", func(s *networkState) { s.cut, s.delay = map[route]bool{}, map[route]time.Duration{} })
}

// Delay delays what `from` sends to `to` by d, and keeps the order. 0 ends the delay.
func (n *LocalNetwork) Delay(from, to uint64, d time.Duration) {
	n.update("", func(s *networkState) {
		delete(s.delay, route{from, to})
		if d > 0 {
			s.delay[route{from, to}] = d
		}
	})
}

// Filter drops the messages for which passes returns false. It is called on the goroutine of the
// sender. Nil ends the filter.
func (n *LocalNetwork) Filter(passes func(MessageInTransit) bool) {
	if passes == nil {
		n.filter.Store(nil)
		return
	}
	n.filter.Store(&passes)
}

// update replaces the state by a copy that apply has changed, and notifies both nodes of each
// connection that was made or broken.
func (n *LocalNetwork) update(reason string, apply func(*networkState)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	current := n.state.Load()
	next := &networkState{maps.Clone(current.links), maps.Clone(current.cut), maps.Clone(current.delay), map[route]bool{}}
	apply(next)
	next.admitPeers()
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

// notifyEnds notifies both nodes if the state of their connection changed. The caller holds n.mu.
func (n *LocalNetwork) notifyEnds(pair route, up bool, next *networkState, reason string) {
	if n.up[pair] == up {
		return
	}
	if up {
		n.up[pair] = true
	} else {
		delete(n.up, pair)
	}
	for _, end := range []route{pair, pair.reverse()} {
		if link := next.links[end.from]; link != nil {
			link.linkStateChanged(end.to, up, reason)
		}
	}
}

// admitPeers has all nodes that are connected check each other's data directory, as the handshake
// of a connection does.
func (s *networkState) admitPeers() {
	for _, a := range slices.Sorted(maps.Keys(s.links)) {
		for _, b := range slices.Sorted(maps.Keys(s.links)) {
			pair := route{a, b}
			if a == b || !s.connected(pair) && !s.refused[pair] {
				continue
			}
			host, peer := s.links[a].receiver, s.links[b].receiver
			err := host.Admit(b, peer.Storage())
			if err == nil {
				continue
			}
			s.refused[pair], s.refused[pair.reverse()] = true, true
			if mismatch := persistence.IsStorageMismatch(err); mismatch != nil {
				host.Log().Error().Str("reason", mismatch.Error()).Msg("refused a peer")
				peer.StorageRefused(mismatch.Refusal())
			}
		}
	}
}

// connected returns whether two nodes are peers of each other and nothing is cut between them.
func (s *networkState) connected(pair route) bool {
	a, b := s.links[pair.from], s.links[pair.to]
	return a != nil && b != nil && a.peer(pair.to) != nil && b.peer(pair.from) != nil &&
		!s.cut[pair] && !s.cut[pair.reverse()] && !s.refused[pair]
}

// delayLine holds the delayed messages of one route in their order.
type delayLine struct {
	mu     sync.Mutex
	queued []func() // guarded by mu
}

func (n *LocalNetwork) sendDelayed(on route, d time.Duration, deliver func()) {
	entry, _ := n.delayLines.LoadOrStore(on, &delayLine{})
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

// localLink is the link of one node.
type localLink struct {
	network  *LocalNetwork
	receiver *PeerReceiver
	peers    atomic.Pointer[map[uint64]*localPeer] // replaced, never changed
}

// localPeer is the state of a link towards one peer.
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

func (l *localLink) Start(receiver *PeerReceiver) {
	l.receiver = receiver
	l.network.update("", func(s *networkState) { s.links[receiver.NodeID()] = l })
}

func (l *localLink) SetPeers(members []*messages.Member) {
	l.network.update("not a peer any more", func(*networkState) {
		current := *l.peers.Load()
		next := make(map[uint64]*localPeer, len(members))
		for _, member := range members {
			id := member.GetId()
			if id == l.receiver.NodeID() {
				continue
			}
			peer := current[id]
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

func (l *localLink) Send(to uint64, role messages.Receiver, message messages.PeerMessage) {
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

// tryDeliver delivers a message, or queues it on a delay line. It returns false if the message is
// dropped.
func (l *localLink) tryDeliver(to uint64, role messages.Receiver, message messages.PeerMessage) bool {
	from := l.receiver.NodeID()
	route := route{from, to}
	state := l.network.state.Load()
	other := state.links[to]
	if state.links[from] != l || other == nil || state.cut[route] || state.refused[route] {
		return false
	}
	sender := other.peer(from)
	if sender == nil {
		return false
	}
	if passes := l.network.filter.Load(); passes != nil && !(*passes)(MessageInTransit{from, to, role, message}) {
		return false
	}
	deliver := func() {
		sender.received.Add(1)
		other.receiver.Deliver(from, role, message)
	}
	if d := state.delay[route]; d > 0 {
		l.network.sendDelayed(route, d, func() {
			if state := l.network.state.Load(); state.links[to] == other && !state.cut[route] && !state.refused[route] {
				deliver()
			}
		})
		return true
	}
	deliver()
	return true
}

// linkStateChanged notifies the node of the state of a connection. The network's lock is held, so
// that notifications arrive in the order of the changes.
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

// Close leaves the network. The other nodes receive LinkDown, as after the end of a process.
func (l *localLink) Close() {
	l.network.update("peer closed", func(s *networkState) {
		if s.links[l.receiver.NodeID()] == l {
			delete(s.links, l.receiver.NodeID())
		}
	})
}

// Stats describes the peers, ordered by id.
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
