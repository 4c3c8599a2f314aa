package world

import (
	"slices"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Failpoint waits for an actor's nth message of a kind, across all runs of the member.
type Failpoint struct {
	Actor     string            // as in mailbox.path
	Kind      protoreflect.Name // "": any
	Remaining int
	When      CrashTiming
	Repeats   int // how many of the following messages it hits too
	// endRun, if not nil, ends the run of the whole member; else the actor crashes.
	endRun func()
	// callback, if not nil, is only called.
	callback func()
}

// CrashAt makes an actor of a member crash at its nth message of a kind, before or after it handles
// it.
func (m *Member) CrashAt(actor, kind string, nth int, when CrashTiming) {
	m.Failpoints = append(m.Failpoints, &Failpoint{Actor: actor, Kind: messageKind(kind), Remaining: nth, When: when})
}

// EndRunAt calls end instead of an actor's nth message of a kind, or right after it was handled.
// end must end the run of the member, since the message is lost.
func (m *Member) EndRunAt(actor, kind string, nth int, when CrashTiming, end func()) {
	m.Failpoints = append(m.Failpoints, &Failpoint{Actor: actor, Kind: messageKind(kind), Remaining: nth, When: when, endRun: end})
}

// CallAt calls a function before an actor's nth message of a kind.
func (m *Member) CallAt(actor, kind string, nth int, call func()) {
	m.Failpoints = append(m.Failpoints, &Failpoint{Actor: actor, Kind: messageKind(kind), Remaining: nth, callback: call})
}

// hitFailpoint returns what is to happen with a message because of a failpoint.
func (m *Member) hitFailpoint(b *mailbox, message any) (when CrashTiming, cut func()) {
	_, message, _ = actor.UnwrapEnvelope(message)
	p, ok := message.(proto.Message)
	if !ok {
		return noCrash, nil
	}
	for i, t := range m.Failpoints {
		if t.Actor != b.path || t.Kind != "" && t.Kind != kindOf(p) {
			continue
		}
		if t.Remaining--; t.Remaining > 0 {
			continue
		}
		if t.Repeats--; t.Repeats < 0 {
			m.Failpoints = slices.Delete(m.Failpoints, i, i+1)
		}
		if t.callback != nil {
			t.callback()
			return noCrash, nil
		}
		return t.When, t.endRun
	}
	return noCrash, nil
}
