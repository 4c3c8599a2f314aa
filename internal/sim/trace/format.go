// Package trace is the format of traces: the events of a simulated run, and the file that they are
// written to.
//
// A trace is JSON lines: a Header, then one Event a line in the order in which they happened, then
// an event of kind End. A file without that last line is incomplete. The package does not depend on
// the simulator: internal/sim/world writes traces, internal/sim/explain shows them.
package trace

import "time"

// Format and Version are in the first line of every trace. Version changes when a reader
// would misunderstand the format or the names in it.
const (
	Format  = "troupe-trace"
	Version = 2
)

// Limits of the Reader.
const (
	MaxLineBytes = 1 << 20
	MaxMembers   = 64
	MaxIndex     = 1<<53 - 1 // a browser's numbers are exact up to here
)

// Header identifies the run, so that it can be repeated.
type Header struct {
	Format     string   `json:"format"`
	Version    int      `json:"version"`
	Seed       uint64   `json:"seed"`
	Nodes      int      `json:"nodes"` // the members are 1 … Nodes
	Profile    string   `json:"profile,omitempty"`
	Scenario   string   `json:"scenario,omitempty"`
	Steps      int      `json:"steps,omitempty"` // with faults
	Without    []string `json:"without,omitempty"`
	FaultLimit int      `json:"faultLimit,omitempty"`
	Clients    int      `json:"clients,omitempty"` // 0: the seed decided
}

// Kind is a kind of event. Its constant says which fields of an Event it has; Step and At are
// always set.
type Kind string

const (
	// Start: a run of Member begins; Index counts them from 1.
	Start Kind = "start"
	// Kill: Member is killed, as by kill -9 or a power cut; Detail says what its disk kept.
	Kill Kind = "kill"
	// Stop: Member stops by itself, as a production node does when it cannot continue; Detail says
	// why.
	Stop Kind = "stop"
	// StateChanged: Member has another State.
	StateChanged Kind = "state"
	// LogChanged: Member has another Log.
	LogChanged Kind = "log"
	// Applied: the state machine of Member has applied Index.
	Applied Kind = "applied"

	// Sent: Member sends the message ID, called Name, to Peer; Detail has its key fields.
	Sent Kind = "send"
	// Arrived: the message ID of Member is in the mailbox of Peer.
	Arrived Kind = "arrive"
	// Lost: the message ID of Member never reaches Peer; Detail says why.
	Lost Kind = "lose"
	// Duplicated: the message ID of Member will reach Peer once more.
	Duplicated Kind = "double"

	// Handled: the Actor of Member begins to handle the message called Name.
	Handled Kind = "handle"
	// Panicked: the Actor of Member panics at a message called Name; its supervisor decides what
	// follows.
	Panicked Kind = "panic"

	// FaultInjected: a fault called Name happens to Member (0: to the world), or between Member and
	// Peer, until Until (0: unknown).
	FaultInjected Kind = "fault"
	// CutOff: no message passes from Member to Peer.
	CutOff Kind = "cut"
	// Healed: messages pass from Member to Peer again.
	Healed Kind = "mend"

	// Called: a client of Member begins the operation ID, called Name.
	Called Kind = "call"
	// Returned: the operation ID of a client of Member is over; Detail is its result.
	Returned Kind = "return"

	// Note: Detail describes what a script does or waits for.
	Note Kind = "note"
	// Violated: the invariant Name is violated; Detail says what was expected and seen.
	Violated Kind = "violation"
	// End: nothing follows.
	End Kind = "end"
)

var kinds = map[Kind]bool{
	Start: true, Kill: true, Stop: true, StateChanged: true, LogChanged: true, Applied: true,
	Sent: true, Arrived: true, Lost: true, Duplicated: true, Handled: true, Panicked: true,
	FaultInjected: true, CutOff: true, Healed: true, Called: true, Returned: true, Note: true, Violated: true, End: true,
}

// Event is one event of a run.
type Event struct {
	Step   int           `json:"step"`
	At     time.Duration `json:"at"` // virtual, in nanoseconds
	Kind   Kind          `json:"kind"`
	Member uint64        `json:"member,omitempty"`
	Peer   uint64        `json:"peer,omitempty"`
	ID     uint64        `json:"id,omitempty"`
	Actor  string        `json:"actor,omitempty"` // "node", "log", "log/reader", "machine", "peer-0x2"
	Name   string        `json:"name,omitempty"`
	Detail string        `json:"detail,omitempty"`
	Index  uint64        `json:"index,omitempty"`
	Until  time.Duration `json:"until,omitempty"`
	State  *State        `json:"state,omitempty"`
	Log    *Log          `json:"log,omitempty"`
}

// State is the state that a member's Node reports.
type State struct {
	Role    string `json:"role"` // "recovering", "follower", "preCandidate", "candidate", "leader", "removed"
	Term    uint64 `json:"term"`
	Vote    uint64 `json:"vote,omitempty"`   // 0: none
	Leader  uint64 `json:"leader,omitempty"` // 0: none known
	Commit  uint64 `json:"commit,omitempty"`
	Durable uint64 `json:"durable,omitempty"` // the durable index
}

// Log is a change of a log: all entries from From on are replaced, and [From, Last] have the terms
// of Runs. Last is From-1 if the log was only truncated.
type Log struct {
	From uint64 `json:"from"` // at least 1
	Last uint64 `json:"last"`
	Runs []Run  `json:"runs,omitempty"`
	// Texts describe the entries from From on, as far as the trace has it: "noop", "put k1 = \"a\"".
	Texts []string `json:"words,omitempty"`
}

// Run says that entries from First on, up to the next run, have Term.
type Run struct {
	First uint64 `json:"first"`
	Term  uint64 `json:"term"`
}

// TermAt returns the term of the entry at index; 0: the change has none.
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

// Recorder receives a run: Begin once, then Record for each event. It may keep the events.
type Recorder interface {
	Begin(Header)
	Record(*Event)
}
