package live

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/messages"
)

// Network links nodes of one process: messages are handed over by pointer, which is sound since they are immutable. Tests
// cut, delay and drop on it.
//
// Sending takes no lock: who listens, who knows whom and what is broken stands in one immutable picture, which a change
// replaces. As over a real link, a message passes only between nodes that know each other.
type Network struct {
	mu      sync.Mutex                         // held by whoever makes the next picture
	picture atomic.Pointer[picture]            // never nil
	up      map[pair]bool                      // guarded by mu; the pairs whose ends were told LinkUp
	lines   sync.Map                           // pair → *line, for delayed messages
	filter  atomic.Pointer[func(Passing) bool] // nil: all pass
}

// Passing is a message on its way, for a filter of a test.
type Passing struct {
	From, To uint64
	Role     messages.Role
	Message  proto.Message
}

// picture is the state of a Network. Its maps are never changed.
type picture struct {
	links map[uint64]*networkLink
	cut   map[pair]bool
	delay map[pair]time.Duration
}

// pair is a direction.
type pair struct{ from, to uint64 }

func (p pair) back() pair { return pair{p.to, p.from} }

// NewNetwork makes a network without nodes.
func NewNetwork() *Network {
	n := &Network{up: map[pair]bool{}}
	n.picture.Store(&picture{})
	return n
}

// Link makes the link of one more node; it joins when its Env starts it.
func (n *Network) Link() Link {
	l := &networkLink{network: n}
	l.peers.Store(&map[uint64]*networkPeer{})
	return l
}

// Cut breaks the connection of a and b, both ways; both hear LinkDown.
func (n *Network) Cut(a, b uint64) {
	n.change("cut", func(p *picture) { p.cut[pair{a, b}], p.cut[pair{b, a}] = true, true })
}

// CutOneWay loses what from sends to to. As over TCP, where acknowledgements are lost too, both hear LinkDown.
func (n *Network) CutOneWay(from, to uint64) {
	n.change("cut", func(p *picture) { p.cut[pair{from, to}] = true })
}

// Heal mends the connection of a and b, both ways.
func (n *Network) Heal(a, b uint64) {
	n.change("", func(p *picture) {
		delete(p.cut, pair{a, b})
		delete(p.cut, pair{b, a})
	})
}

// Isolate cuts a node off from all others that are on the network now.
func (n *Network) Isolate(id uint64) {
	n.change("cut", func(p *picture) {
		for other := range p.links {
			if other != id {
				p.cut[pair{id, other}], p.cut[pair{other, id}] = true, true
			}
		}
	})
}

// HealAll ends all cuts and delays.
func (n *Network) HealAll() {
	n.change("", func(p *picture) { p.cut, p.delay = map[pair]bool{}, map[pair]time.Duration{} })
}

// Delay makes what from sends to to arrive later by d, in order; 0 ends it.
func (n *Network) Delay(from, to uint64, d time.Duration) {
	n.change("", func(p *picture) {
		delete(p.delay, pair{from, to})
		if d > 0 {
			p.delay[pair{from, to}] = d
		}
	})
}

// Filter is asked about every message, from the goroutine of its sender; those it says false to are lost. Nil: all pass.
func (n *Network) Filter(passes func(Passing) bool) {
	if passes == nil {
		n.filter.Store(nil)
		return
	}
	n.filter.Store(&passes)
}

// change draws the next picture and tells the ends of every connection that came or went.
func (n *Network) change(reason string, draw func(*picture)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := n.picture.Load()
	next := &picture{links: map[uint64]*networkLink{}, cut: map[pair]bool{}, delay: map[pair]time.Duration{}}
	maps.Copy(next.links, now.links)
	maps.Copy(next.cut, now.cut)
	maps.Copy(next.delay, now.delay)
	draw(next)
	n.picture.Store(next)
	ids := slices.Sorted(maps.Keys(next.links))
	for _, a := range ids {
		for _, b := range ids {
			if a < b {
				n.announce(pair{a, b}, next.connected(pair{a, b}), next, reason)
			}
		}
	}
	for gone := range n.up {
		if next.links[gone.from] == nil || next.links[gone.to] == nil {
			n.announce(gone, false, next, reason)
		}
	}
}

// announce tells both ends what became of their connection. The caller holds n.mu.
func (n *Network) announce(p pair, up bool, next *picture, reason string) {
	if n.up[p] == up {
		return
	}
	if up {
		n.up[p] = true
	} else {
		delete(n.up, p)
	}
	for _, end := range []pair{p, p.back()} {
		if link := next.links[end.from]; link != nil {
			link.told(end.to, up, reason)
		}
	}
}

// connected tells whether two nodes know each other and nothing is cut between them.
func (p *picture) connected(between pair) bool {
	a, b := p.links[between.from], p.links[between.to]
	return a != nil && b != nil && a.peer(between.to) != nil && b.peer(between.from) != nil && !p.cut[between] && !p.cut[between.back()]
}

// line is one direction on which messages are delayed. What is on the line arrives in order.
type line struct {
	mu     sync.Mutex
	queued []func() // guarded by mu
}

func (n *Network) later(p pair, d time.Duration, deliver func()) {
	entry, _ := n.lines.LoadOrStore(p, &line{})
	l := entry.(*line)
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

// networkLink is one node's end.
type networkLink struct {
	network *Network
	inbox   *Inbox
	peers   atomic.Pointer[map[uint64]*networkPeer] // those it knows; replaced, never changed
}

// networkPeer is what a node's end knows of another.
type networkPeer struct {
	sent, received, dropped atomic.Uint64

	mu      sync.Mutex
	address string // guarded by mu
	up      bool   // guarded by mu
	since   int64  // guarded by mu
	reason  string // guarded by mu
}

func (p *networkPeer) move(address string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.address = address
}

func (l *networkLink) Start(inbox *Inbox) {
	l.inbox = inbox
	l.network.change("", func(p *picture) { p.links[inbox.Self()] = l })
}

func (l *networkLink) SetPeers(members []*messages.Member) {
	l.network.change("not a peer any more", func(*picture) {
		now := *l.peers.Load()
		next := make(map[uint64]*networkPeer, len(members))
		for _, member := range members {
			id := member.GetId()
			if id == l.inbox.Self() {
				continue
			}
			peer := now[id]
			if peer == nil {
				peer = &networkPeer{since: sinceEpoch(), reason: "not connected yet"}
			}
			peer.move(member.GetAddress())
			next[id] = peer
		}
		l.peers.Store(&next)
	})
}

func (l *networkLink) peer(id uint64) *networkPeer { return (*l.peers.Load())[id] }

func (l *networkLink) Send(to uint64, role messages.Role, message proto.Message) {
	peer := l.peer(to)
	if peer == nil {
		return
	}
	if l.pass(to, role, message) {
		peer.sent.Add(1)
	} else {
		peer.dropped.Add(1)
	}
}

// pass hands a message over, or to the line that delays it, unless something lies in its way.
func (l *networkLink) pass(to uint64, role messages.Role, message proto.Message) bool {
	from := l.inbox.Self()
	direction := pair{from, to}
	picture := l.network.picture.Load()
	other := picture.links[to]
	if picture.links[from] != l || other == nil || picture.cut[direction] {
		return false
	}
	us := other.peer(from)
	if us == nil {
		return false
	}
	if passes := l.network.filter.Load(); passes != nil && !(*passes)(Passing{from, to, role, message}) {
		return false
	}
	deliver := func() {
		us.received.Add(1)
		other.inbox.Deliver(from, role, message)
	}
	if d := picture.delay[direction]; d > 0 {
		l.network.later(direction, d, func() {
			if now := l.network.picture.Load(); now.links[to] == other && !now.cut[direction] {
				deliver()
			}
		})
		return true
	}
	deliver()
	return true
}

// told passes on what became of a connection. The network's lock is held: the order of news is the order of changes.
func (l *networkLink) told(id uint64, up bool, reason string) {
	if peer := l.peer(id); peer != nil {
		peer.mu.Lock()
		peer.up, peer.since, peer.reason = up, sinceEpoch(), reason
		peer.mu.Unlock()
	}
	if up {
		l.inbox.LinkUp(id)
		return
	}
	l.inbox.LinkDown(id, reason)
}

// Close leaves the network; the others hear LinkDown as they would of a process that ended.
func (l *networkLink) Close() {
	l.network.change("peer closed", func(p *picture) {
		if p.links[l.inbox.Self()] == l {
			delete(p.links, l.inbox.Self())
		}
	})
}

// Stats describes the peers, by id.
func (l *networkLink) Stats() []PeerStat {
	peers := *l.peers.Load()
	stats := make([]PeerStat, 0, len(peers))
	for _, id := range slices.Sorted(maps.Keys(peers)) {
		stats = append(stats, peers[id].stat(id))
	}
	return stats
}

func (p *networkPeer) stat(id uint64) PeerStat {
	p.mu.Lock()
	defer p.mu.Unlock()
	return PeerStat{
		ID: id, Address: p.address,
		Up: p.up, Reason: p.reason, Since: time.Duration(sinceEpoch() - p.since),
		LettersSent: p.sent.Load(), LettersReceived: p.received.Load(), Dropped: p.dropped.Load(),
	}
}
