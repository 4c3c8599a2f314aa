// Package trace is what a simulated run leaves behind for people: its events, and the file that
// they are written to.
//
// A trace is JSON lines: a Header, then one Event a line in the order in which things happened,
// then an event of kind End. A file without that last line is of a run that was broken off, or was
// cut. The package knows nothing of the simulator; internal/sim writes traces, internal/sim/explain
// shows them.
package trace

import "time"

// Format and Version stand in the first line of every trace. Version changes when a reader of the
// former would misunderstand what is written now.
const (
	Format  = "troupe-trace"
	Version = 1
)

// What a reader takes at most.
const (
	MaxLineBytes = 1 << 20
	MaxMembers   = 64
	MaxIndex     = 1<<53 - 1 // a browser's numbers are exact up to here
)

// Header says which run this is, so that it can be had again.
type Header struct {
	Format     string   `json:"format"`
	Version    int      `json:"version"`
	Seed       uint64   `json:"seed"`
	Nodes      int      `json:"nodes"` // the members are 1 … Nodes
	Profile    string   `json:"profile,omitempty"`
	Scenario   string   `json:"scenario,omitempty"`
	Steps      int      `json:"steps,omitempty"` // of misfortune
	Without    []string `json:"without,omitempty"`
	FaultLimit int      `json:"faultLimit,omitempty"`
	Clients    int      `json:"clients,omitempty"` // where the options said how many
}

// Kind says what happened. Which fields of an Event a kind has stands at its constant; Step and At
// are always there.
type Kind string

const (
	// Start: Member begins a life; Index counts them from 1.
	Start Kind = "start"
	// Kill: Member dies, as by kill -9 or a power cut; Detail says what its disk kept.
	Kill Kind = "kill"
	// Stop: Member gives up by itself, as a production node does when it cannot go on; Detail says
	// why.
	Stop Kind = "stop"
	// StateChanged: the State of Member is another one now.
	StateChanged Kind = "state"
	// LogChanged: the Log of Member is another one now.
	LogChanged Kind = "log"
	// Applied: the state machine of Member stands at Index.
	Applied Kind = "applied"

	// Sent: Member sends the message ID, called Name, to Peer; Detail holds its key fields.
	Sent Kind = "send"
	// Arrived: the message ID of Member is in the mailbox of Peer.
	Arrived Kind = "arrive"
	// Lost: the message ID of Member never reaches Peer; Detail says why.
	Lost Kind = "lose"
	// Duplicated: the message ID of Member will reach Peer once more.
	Duplicated Kind = "double"

	// Handled: the Actor of Member takes the message called Name out of its mailbox.
	Handled Kind = "handle"
	// Panicked: the Actor of Member dies of a panic at a message called Name, and is for supervision
	// to deal with.
	Panicked Kind = "panic"

	// FaultInjected: a fault called Name happens to Member (0: to the world), or between Member and
	// Peer, until Until (0: unknown).
	FaultInjected Kind = "fault"
	// CutOff: nothing passes from Member to Peer any more.
	CutOff Kind = "cut"
	// Healed: messages pass from Member to Peer again.
	Healed Kind = "mend"

	// Called: a client of Member begins the operation ID, called Name.
	Called Kind = "call"
	// Returned: the operation ID of a client of Member is over; Detail is its result.
	Returned Kind = "return"

	// Note: a script says in Detail what it does or waits for.
	Note Kind = "note"
	// Violated: the invariant Name does not hold; Detail says what was expected and seen.
	Violated Kind = "violation"
	// End: nothing follows.
	End Kind = "end"
)

var kinds = map[Kind]bool{
	Start: true, Kill: true, Stop: true, StateChanged: true, LogChanged: true, Applied: true,
	Sent: true, Arrived: true, Lost: true, Duplicated: true, Handled: true, Panicked: true,
	FaultInjected: true, CutOff: true, Healed: true, Called: true, Returned: true, Note: true, Violated: true, End: true,
}

// Event is one thing that happened.
type Event struct {
	Step   int           `json:"step"`
	At     time.Duration `json:"at"` // virtual, in nanoseconds
	Kind   Kind          `json:"kind"`
	Member uint64        `json:"member,omitempty"`
	Peer   uint64        `json:"peer,omitempty"`
	ID     uint64        `json:"id,omitempty"`
	Actor  string        `json:"actor,omitempty"` // "node", "log", "log/reader", "machine", "peer-2"
	Name   string        `json:"name,omitempty"`
	Detail string        `json:"detail,omitempty"`
	Index  uint64        `json:"index,omitempty"`
	Until  time.Duration `json:"until,omitempty"`
	State  *State        `json:"state,omitempty"`
	Log    *Log          `json:"log,omitempty"`
}

// State is what a member's Node shows of itself.
type State struct {
	Role    string `json:"role"` // "recovering", "follower", "preCandidate", "candidate", "leader", "removed"
	Term    uint64 `json:"term"`
	Vote    uint64 `json:"vote,omitempty"`   // 0: none
	Leader  uint64 `json:"leader,omitempty"` // 0: none known
	Commit  uint64 `json:"commit,omitempty"`
	Durable uint64 `json:"durable,omitempty"` // what its own disk holds of its log
}

// Log is a change of a log: whatever stood at From and after is gone, and [From, Last] is of the
// terms that Runs tell. Last is From-1 where nothing follows: the log was only truncated.
type Log struct {
	From uint64 `json:"from"` // at least 1
	Last uint64 `json:"last"`
	Runs []Run  `json:"runs,omitempty"`
	// Words say what the entries from From on are, as far as the trace tells: "noop", "put k1 =
	// \"a\"".
	Texts []string `json:"words,omitempty"`
}

// Run says that entries from First on, up to the next run, are of Term.
type Run struct {
	First uint64 `json:"first"`
	Term  uint64 `json:"term"`
}

// TermAt is the term of the entry at index, 0 where the change has none.
func (l *Log) TermAt(index uint64) uint64 {
	term := uint64(0)
	if index < l.From || index > l.Last {
		return 0
	}
	for _, r := range l.Runs {
		if r.First > index {
			break
		}
		term = r.Term
	}
	return term
}

// Recorder takes a run as it happens: Begin once, then Record for each event. An event may be kept
// by who takes it.
type Recorder interface {
	Begin(Header)
	Record(*Event)
}
