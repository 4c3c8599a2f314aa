package lanes

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// This test explores every order in which two nodes connect to each other, while connections break
// and a node restarts. It takes each event in each state that can be reached, and looks at each
// state once.

// maxWires is how many connections are made at most: two at first, one more for each that breaks,
// and two more for each restart.
const maxWires = 4

// wire is a connection that one node dials.
type wire struct {
	dialer int8
	broken bool
	lanes  [Count]wireLane
}

// wireLane is a stream of a connection, as its two ends see it.
type wireLane struct {
	accepted bool // the other node has handled the Hello
	welcomed bool // the dialer has received the Welcome
	ended    bool // the other node has ended it
	closed   bool // the other node has handled its end
}

// end is one of the nodes.
type end struct {
	connections Connections[int8]
	dialing     int8        // number of the wire that it dials or has dialed; 0: none
	up          bool        // by the notifications
	latest      [Count]int8 // stream that was opened last; 0: none, or it has closed
}

type linkedPair struct {
	ends             [2]end
	wires            [maxWires]wire
	made             int8 // wires
	breaks, restarts int8 // that may still happen
}

// streamID numbers the streams of all wires.
func streamID(number int8, lane Lane) int8 { return number*int8(Count) + int8(lane) }

// event is what happens to a connection, to one of its lanes or to a node.
type event struct {
	what   string
	node   int8
	number int8 // of the connection; 0: none
	lane   Lane
}

func (e event) String() string {
	return fmt.Sprintf("node %d %s, connection %d, lane %v", e.node, e.what, e.number, e.lane)
}

// step is an event and the state after it.
type step struct {
	event
	pair     linkedPair
	replaces bool   // a stream takes the lane of another one
	wrong    string // what must not be; empty: nothing
}

// notified handles a notification of a node.
func (e *end) notified(change Change[int8]) (wrong string) {
	switch {
	case change.Up && (e.up || change.Down), change.Down && !e.up:
		wrong = "notifications of up and down do not alternate"
	case change.Refused:
		wrong = "a stream is refused"
	}
	e.up = e.up && !change.Down || change.Up
	if e.up != e.connections.Up() {
		wrong = "the last notification differs from the state"
	}
	if streams := e.connections.Streams(); streams != e.latest {
		wrong = fmt.Sprintf("the streams %v count, and the latest ones are %v", streams, e.latest)
	}
	return wrong
}

// dial makes another connection of a node that has none.
func (p linkedPair) dial(n int8) step {
	if p.made == maxWires {
		return step{event: event{what: "dials", node: n}, pair: p, wrong: "it dials again, and nothing was broken"}
	}
	p.wires[p.made].dialer = n
	p.made++
	p.ends[n].dialing = p.made
	return step{event: event{what: "dials", node: n, number: p.made}, pair: p}
}

// accept handles the Hello of a stream.
func (p linkedPair) accept(number int8, lane Lane) step {
	w := &p.wires[number-1]
	e := &p.ends[1-w.dialer]
	w.lanes[lane].accepted = true
	e.latest[lane] = streamID(number, lane)
	change := e.connections.StreamOpened(lane, e.latest[lane])
	if old := change.Replaced; old != 0 {
		p.wires[old/int8(Count)-1].lanes[lane].ended = true
	}
	wrong := e.notified(change)
	return step{event{"accepts", 1 - w.dialer, number, lane}, p, change.Replaced != 0, wrong}
}

// welcome handles the Welcome of a stream at the node that dialed.
func (p linkedPair) welcome(number int8, lane Lane) step {
	w := &p.wires[number-1]
	e := &p.ends[w.dialer]
	w.lanes[lane].welcomed = true
	s := step{event: event{"is welcomed", w.dialer, number, lane}}
	if w.lanes[Control].welcomed && w.lanes[Bulk].welcomed {
		s.wrong = e.notified(e.connections.Dialed())
	}
	s.pair = p
	return s
}

// endDial handles the end of a connection at the node that dialed.
func (p linkedPair) endDial(n int8) step {
	e := &p.ends[n]
	number := e.dialing
	p.wires[number-1].broken, e.dialing = true, 0
	wrong := e.notified(e.connections.DialEnded())
	return step{event: event{what: "notices the end", node: n, number: number}, pair: p.withoutEnded(number), wrong: wrong}
}

// closeStream handles the end of a stream at the other node.
func (p linkedPair) closeStream(number int8, lane Lane) step {
	w := &p.wires[number-1]
	e := &p.ends[1-w.dialer]
	w.lanes[lane].closed = true
	if id := streamID(number, lane); e.latest[lane] == id {
		e.latest[lane] = 0
	}
	wrong := e.notified(e.connections.StreamClosed(lane, streamID(number, lane)))
	return step{event: event{"notices the end of the stream", 1 - w.dialer, number, lane}, pair: p.withoutEnded(number), wrong: wrong}
}

// withoutEnded forgets a connection whose end both nodes have handled, so that states which differ
// only in what is over are one.
func (p linkedPair) withoutEnded(number int8) linkedPair {
	w := &p.wires[number-1]
	over := w.broken && p.ends[w.dialer].dialing != number
	for _, l := range w.lanes {
		over = over && l.accepted == l.closed
	}
	if over {
		*w = wire{broken: true}
	}
	return p
}

func (p linkedPair) breakWire(number int8) step {
	p.wires[number-1].broken = true
	p.breaks--
	return step{event: event{what: "loses the connection that it dialed", node: p.wires[number-1].dialer, number: number}, pair: p.withoutEnded(number)}
}

// restart ends the process of a node, with its connections, and starts it again.
func (p linkedPair) restart(n int8) step {
	p.ends[n] = end{}
	for i := range p.made {
		w := &p.wires[i]
		w.broken = true
		for lane := range w.lanes {
			if w.dialer != n && w.lanes[lane].accepted {
				w.lanes[lane].closed = true // nobody is left to handle it
			}
		}
	}
	p.restarts--
	for number := int8(1); number <= p.made; number++ {
		p = p.withoutEnded(number)
	}
	return step{event: event{what: "restarts", node: n}, pair: p}
}

// steps returns everything that can happen next. It reports whether more than faults can.
func (p linkedPair) steps() (all []step, settled bool) {
	for n := range int8(2) {
		number := p.ends[n].dialing
		if number == 0 {
			all = append(all, p.dial(n))
			continue
		}
		w := &p.wires[number-1]
		if w.broken || w.lanes[Control].ended || w.lanes[Bulk].ended {
			all = append(all, p.endDial(n))
		}
	}
	for number := int8(1); number <= p.made; number++ {
		w := &p.wires[number-1]
		for lane := range Count {
			switch l := w.lanes[lane]; {
			case !l.accepted && !w.broken:
				all = append(all, p.accept(number, lane))
			case l.accepted && !l.closed && (w.broken || l.ended):
				all = append(all, p.closeStream(number, lane))
			}
			if l := w.lanes[lane]; l.accepted && !l.welcomed && !l.ended && !w.broken {
				all = append(all, p.welcome(number, lane))
			}
		}
	}
	settled = len(all) == 0
	for number := int8(1); number <= p.made && p.breaks > 0; number++ {
		if !p.wires[number-1].broken {
			all = append(all, p.breakWire(number))
		}
	}
	for n := range int8(2) {
		if p.restarts > 0 {
			all = append(all, p.restart(n))
		}
	}
	return all, settled
}

// notConnected says what is wrong with a state in which nothing is left to happen.
func (p linkedPair) notConnected() string {
	for n, e := range p.ends {
		if !e.connections.Up() {
			return fmt.Sprintf("the link is down at node %d", n)
		}
		other := &p.ends[1-n]
		for lane, s := range other.connections.Streams() {
			if s != streamID(e.dialing, Lane(lane)) {
				return fmt.Sprintf("node %d sends over connection %d, and node %d receives on stream %d", n, e.dialing, 1-n, s)
			}
		}
	}
	return ""
}

// wrongState says what is wrong with what the nodes take their links for.
func (p linkedPair) wrongState() string {
	for n, e := range p.ends {
		want := e.dialing != 0 && e.latest[Control] != 0 && e.latest[Bulk] != 0
		if want {
			w := &p.wires[e.dialing-1]
			want = w.lanes[Control].welcomed && w.lanes[Bulk].welcomed
		}
		if e.connections.Up() != want {
			return fmt.Sprintf("the link is up at node %d: %v, want %v", n, e.connections.Up(), want)
		}
	}
	return ""
}

// exploration is the states that were reached, with the step that reached each.
type exploration struct {
	known map[linkedPair]struct{}
	steps []step
	from  []int
}

func (x *exploration) add(s step, from int) {
	if _, known := x.known[s.pair]; known && s.wrong == "" {
		return
	}
	x.known[s.pair] = struct{}{}
	x.steps, x.from = append(x.steps, s), append(x.from, from)
}

// path lists the events that lead to a state.
func (x *exploration) path(at int) string {
	var events []string
	for ; at > 0; at = x.from[at] {
		events = append(events, x.steps[at].String())
	}
	slices.Reverse(events)
	return strings.Join(events, "\n")
}

// maxStates bounds the memory of the test: above it a change has made more states.
const maxStates = 2_000_000

func TestConnectionsSettleInEveryOrder(t *testing.T) {
	breaks := int8(2)
	if testing.Short() {
		breaks = 1
	}
	for _, faults := range []linkedPair{{breaks: breaks}, {restarts: 1}} {
		t.Run(fmt.Sprintf("%d breaks, %d restarts", faults.breaks, faults.restarts), func(t *testing.T) {
			x := &exploration{known: map[linkedPair]struct{}{}}
			x.add(step{pair: faults}, 0)
			settledStates, replaced := 0, 0
			for at := 0; at < len(x.steps); at++ {
				s := x.steps[at]
				next, settled := s.pair.steps()
				s.wrong = cmp.Or(s.wrong, s.pair.wrongState())
				if settled {
					settledStates++
					s.wrong = cmp.Or(s.wrong, s.pair.notConnected())
				}
				if len(x.steps) > maxStates {
					t.Fatalf("more than %d states", maxStates)
				}
				if s.wrong != "" {
					t.Fatalf("%s, after:\n%s", s.wrong, x.path(at))
				}
				for _, n := range next {
					x.add(n, at)
					if n.replaces {
						replaced++
					}
				}
			}
			t.Logf("%d states, in %d of them nothing is left to happen; %d times a stream replaces another", len(x.steps), settledStates, replaced)
			if len(x.steps) < 1000 || settledStates == 0 || replaced == 0 {
				t.Error("little was explored")
			}
		})
	}
}

func TestStoppedConnectionsRefuseStreams(t *testing.T) {
	var c Connections[int]
	c.StreamOpened(Control, 1)
	if streams := c.Stop(); streams != [Count]int{1, 0} {
		t.Errorf("the streams %v must end", streams)
	}
	if change := c.StreamOpened(Control, 2); !change.Refused || change.Replaced != 1 {
		t.Errorf("a stream after the end: %+v", change)
	}
}

func TestRetryPausesDouble(t *testing.T) {
	r := Retry{Min: 2, Max: 10, Stable: 100}
	var got []time.Duration
	for _, a := range []struct {
		connected bool
		lasted    time.Duration
	}{{false, 1}, {false, 1000}, {true, 100}, {false, 1}, {false, 1}, {true, 101}, {true, 50}} {
		got = append(got, r.Pause(a.connected, a.lasted))
	}
	if fmt.Sprint(got) != "[2ns 4ns 8ns 10ns 10ns 2ns 4ns]" {
		t.Errorf("pauses %v", got)
	}
}
