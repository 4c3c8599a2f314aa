package troupe

import (
	"sync"
	"time"

	"github.com/troupe-raft/troupe/actors"
)

// EventKind says what an Event reports.
type EventKind string

const (
	// EventLeaderChanged reports a leader, or that none is known: Term, LeaderID.
	EventLeaderChanged EventKind = "leader changed"
	// EventRoleChanged reports this member's role, as in Status: Term, Role.
	EventRoleChanged EventKind = "role changed"
	// EventMembersChanged reports that Status.Members have changed.
	EventMembersChanged EventKind = "members changed"
	// EventServing reports that the state machine has applied what was committed before the start.
	EventServing EventKind = "serving"
	// EventReplaying reports that the state machine was opened again, and does not serve yet.
	EventReplaying EventKind = "replaying"
	// EventDiskLow reports that the disk has less free space than Limits.DiskLowWater.
	EventDiskLow EventKind = "disk low"
	// EventDiskRecovered reports that the disk has enough free space again.
	EventDiskRecovered EventKind = "disk recovered"
	// EventPeerConnected reports that the connection to a peer is complete: PeerID.
	EventPeerConnected EventKind = "peer connected"
	// EventPeerDisconnected reports that the connection to a peer broke: PeerID.
	EventPeerDisconnected EventKind = "peer disconnected"
	// EventActorRestarted reports that an actor is restarted, because of its own failure or that of an
	// actor below it: Actor, Err.
	EventActorRestarted EventKind = "actor restarted"
	// EventStopped reports that the node has stopped, and why: Err, nil after Stop. It is the last.
	EventStopped EventKind = "stopped"
)

// Event is something that happened to a node. The fields that its kind does not name are zero.
type Event struct {
	Kind     EventKind
	Time     time.Time
	Term     uint64
	LeaderID uint64 // 0: none is known
	Role     string
	PeerID   uint64
	Actor    string // its path, as in ActorMetrics
	Err      error
	// Dropped is the number of events before this one that the subscriber missed, because its channel
	// was full.
	Dropped uint64
}

// Events returns a channel that receives what happens to the node from this call on; Status has the
// state before. The channel holds at least one event, and at most buffer. Events for which it has
// no room are dropped, and counted in Event.Dropped and in Metrics.EventsDropped. When the node
// stops, the channel receives EventStopped, in place of the oldest event if need be, and is closed.
//
// The caller must call stop when it needs no more events; stop closes the channel.
func (n *Node) Events(buffer int) (events <-chan Event, stop func()) {
	return n.events.subscribe(max(buffer, 1))
}

// eventPublisher makes events of the states that the actors report, and gives them to the
// subscribers. The actors call it from their own goroutines, so it never waits for a subscriber.
type eventPublisher struct {
	mu          sync.Mutex
	subscribers map[*eventSubscriber]bool
	dropped     uint64 // events, for all subscribers
	last        Event  // EventStopped, once the node has stopped
	// The latest states of the actors.
	role               string
	configurationIndex uint64
	diskLow            bool
	isServing          bool
}

type eventSubscriber struct {
	events  chan Event
	dropped uint64 // since the last event that it received
}

var _ actors.StateObserver = (*eventPublisher)(nil)

func newEventPublisher() *eventPublisher {
	return &eventPublisher{subscribers: map[*eventSubscriber]bool{}}
}

func (p *eventPublisher) subscribe(buffer int) (<-chan Event, func()) {
	s := &eventSubscriber{events: make(chan Event, buffer)}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last.Kind == EventStopped {
		s.events <- p.last
		close(s.events)
		return s.events, func() {}
	}
	p.subscribers[s] = true
	return s.events, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.subscribers[s] {
			delete(p.subscribers, s)
			close(s.events)
		}
	}
}

// droppedCount returns the number of events that subscribers missed.
func (p *eventPublisher) droppedCount() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dropped
}

// publish gives an event to all subscribers. The caller holds mu.
func (p *eventPublisher) publish(e Event) {
	e.Time = time.Now()
	for s := range p.subscribers {
		e.Dropped = s.dropped
		select {
		case s.events <- e:
			s.dropped = 0
		default:
			s.dropped++
			p.dropped++
		}
	}
}

// changed publishes an event that is not derived from a state.
func (p *eventPublisher) changed(e Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.publish(e)
}

// end publishes that the node has stopped, and ends all subscriptions.
func (p *eventPublisher) end(why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = Event{Kind: EventStopped, Err: why, Time: time.Now()}
	for s := range p.subscribers {
		if len(s.events) == cap(s.events) {
			select {
			case oldest := <-s.events:
				s.dropped += oldest.Dropped + 1
				p.dropped++
			default: // the subscriber has received one meanwhile
			}
		}
		last := p.last
		last.Dropped = s.dropped
		s.events <- last // there is room: nobody else sends
		close(s.events)
	}
	clear(p.subscribers)
}

// Node receives the state of the Node actor.
func (p *eventPublisher) Node(v actors.NodeView) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if v.Role != p.role {
		p.role = v.Role
		p.publish(Event{Kind: EventRoleChanged, Term: v.Term, Role: v.Role})
	}
	if v.ConfigurationIndex != p.configurationIndex && v.Configuration != nil {
		if p.configurationIndex != 0 { // not the recovery of the one that is in effect
			p.publish(Event{Kind: EventMembersChanged})
		}
		p.configurationIndex = v.ConfigurationIndex
	}
	if v.DiskLow != p.diskLow {
		p.diskLow = v.DiskLow
		p.publish(Event{Kind: eitherKind(v.DiskLow, EventDiskLow, EventDiskRecovered)})
	}
}

// Machine receives the state of the Machine actor.
func (p *eventPublisher) Machine(v actors.MachineView) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if v.Serving != p.isServing {
		p.isServing = v.Serving
		p.publish(Event{Kind: eitherKind(v.Serving, EventServing, EventReplaying)})
	}
}

// LogStore does nothing; it completes actors.StateObserver.
func (p *eventPublisher) LogStore(actors.LogStoreView) {}

// Replicator does nothing; it completes actors.StateObserver.
func (p *eventPublisher) Replicator(actors.ReplicatorView) {}

// Synced does nothing; it completes actors.StateObserver.
func (p *eventPublisher) Synced(int, int, time.Duration) {}

// linkChanged publishes the state of the connection to a peer.
func (p *eventPublisher) linkChanged(peer uint64, up bool) {
	p.changed(Event{Kind: eitherKind(up, EventPeerConnected, EventPeerDisconnected), PeerID: peer})
}

func eitherKind(which bool, yes, no EventKind) EventKind {
	if which {
		return yes
	}
	return no
}
