package world

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/troupe-raft/troupe/messages"
)

// rule is what a script does to messages on their way between members. Rules are asked in the order
// in which they were made; the first that a message meets decides about it. A message that a rule
// takes has been said, as far as the ghost is concerned: who promised something is bound by it
// whether or not it arrives.
type Rule struct {
	world        *World
	from, to     *Member // nil: anybody
	kinds        []protoreflect.Name
	matches      func(proto.Message) bool // nil: all of the kinds
	observe      func(from, to *Member, m proto.Message)
	action       ruleAction
	Count        int // messages that met it
	heldMessages []func()
	ended        bool
}

// treatment is what becomes of a message that meets a rule.
type ruleAction int

const (
	observeOnly ruleAction = iota // only looked at: the next rule is asked
	dropped                       // it never arrives
	held                          // it arrives when the rule is released
)

// lose has messages get lost. No kinds are all kinds.
func (w *World) DropRule(from, to *Member, kinds ...string) *Rule {
	return w.addRule(&Rule{from: from, to: to, action: dropped}, kinds)
}

// keep holds messages back until release.
func (w *World) HoldRule(from, to *Member, kinds ...string) *Rule {
	return w.addRule(&Rule{from: from, to: to, action: held}, kinds)
}

// tap has see look at messages when they are sent. It must not end a life: a power cut there is
// planned with after.
func (w *World) ObserveRule(from, to *Member, see func(from, to *Member, m proto.Message), kinds ...string) *Rule {
	return w.addRule(&Rule{from: from, to: to, observe: see, action: observeOnly}, kinds)
}

// when narrows a rule.
func (r *Rule) Where(only func(proto.Message) bool) *Rule {
	r.matches = only
	if r.action != observeOnly {
		r.world.events.note("but only some")
	}
	return r
}

// end takes a rule back. What it kept is lost.
func (r *Rule) End() { r.ended, r.heldMessages = true, nil }

// release takes a rule back and sends on what it kept, in order.
func (r *Rule) Release() {
	r.world.events.note("releases " + r.String())
	waiting := r.heldMessages
	r.End()
	for _, send := range waiting {
		send()
	}
}

// again sends on what it kept so far, and keeps it: the same may arrive as often as a script likes.
func (r *Rule) ResendHeld() {
	for _, send := range r.heldMessages {
		send()
	}
}

// RealVote narrows to votes that bind, as against pre-votes.
func RealVote(m proto.Message) bool {
	v, ok := m.(interface{ GetPreVote() bool })
	return ok && !v.GetPreVote()
}

func (w *World) addRule(r *Rule, kinds []string) *Rule {
	r.world = w
	for _, k := range kinds {
		r.kinds = append(r.kinds, messageKind(k))
	}
	w.network.rules = append(w.network.rules, r)
	switch r.action {
	case dropped:
		w.events.note("loses " + r.String())
	case held:
		w.events.note("holds back " + r.String())
	}
	return r
}

// String is which messages meet the rule.
func (r *Rule) String() string {
	what := "all messages"
	if len(r.kinds) > 0 {
		what = strings.Trim(fmt.Sprint(r.kinds), "[]")
	}
	for _, end := range []struct {
		word string
		of   *Member
	}{{" from ", r.from}, {" to ", r.to}} {
		if end.of != nil {
			what += end.word + strconv.FormatUint(end.of.id, 10)
		}
	}
	return what
}

// messageKind refuses what is no message: a rule or a trap for it would never be met, and prove
// nothing.
func messageKind(name string) protoreflect.Name {
	for _, file := range []protoreflect.FileDescriptor{messages.File_messages_peer_proto, messages.File_messages_local_proto} {
		if file.Messages().ByName(protoreflect.Name(name)) != nil {
			return protoreflect.Name(name)
		}
	}
	panic(fmt.Errorf("no message is called %q", name))
}

func kindOf(m proto.Message) protoreflect.Name { return m.ProtoReflect().Descriptor().Name() }

// ruled asks the rules about a message, and tells whether one has taken it. send puts it on its
// way.
func (w *World) applyRules(from, to *Member, id uint64, m proto.Message, send func()) bool {
	for _, r := range w.network.rules {
		if r.ended || r.from != nil && r.from != from || r.to != nil && r.to != to {
			continue
		}
		if len(r.kinds) > 0 && !slices.Contains(r.kinds, kindOf(m)) || r.matches != nil && !r.matches(m) {
			continue
		}
		r.Count++
		if r.observe != nil {
			r.observe(from, to, m)
		}
		switch r.action {
		case dropped:
			w.dropMessage(from, to, id, m, "as the script has it")
			return true
		case held:
			r.heldMessages = append(r.heldMessages, send)
			return true
		}
	}
	return false
}

// trap waits for an actor's nth message of a kind, over all lives of the member.
type Failpoint struct {
	Actor     string            // as in mailbox.name
	Kind      protoreflect.Name // "": any
	Remaining int
	When      CrashTiming
	Repeats   int // how often more, at messages that follow
	// cut, if not nil, is a power cut of the whole member; else the actor crashes.
	endRun func()
	// meets, if not nil, is only called.
	callback func()
}

// crashes has an actor of a member fail at its nth message of a kind, before or after it is
// handled.
func (m *Member) CrashAt(actor, kind string, nth int, when CrashTiming) {
	m.Failpoints = append(m.Failpoints, &Failpoint{Actor: actor, Kind: messageKind(kind), Remaining: nth, When: when})
}

// dies has end called in place of an actor's nth message of a kind, or right after that was
// handled. end is to end the member's life, since the message is lost.
func (m *Member) EndRunAt(actor, kind string, nth int, when CrashTiming, end func()) {
	m.Failpoints = append(m.Failpoints, &Failpoint{Actor: actor, Kind: messageKind(kind), Remaining: nth, When: when, endRun: end})
}

// meets has something called before an actor's nth message of a kind.
func (m *Member) CallAt(actor, kind string, nth int, call func()) {
	m.Failpoints = append(m.Failpoints, &Failpoint{Actor: actor, Kind: messageKind(kind), Remaining: nth, callback: call})
}

// spring tells what is to happen with a message because of a trap.
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
