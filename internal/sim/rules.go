package sim

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

// rule is what a script does to messages on their way between members. Rules are asked in the order in which they were
// made; the first that a message meets decides about it. A message that a rule takes has been said, as far as the ghost
// is concerned: who promised something is bound by it whether or not it arrives.
type rule struct {
	world        *World
	from, to     *member // nil: anybody
	kinds        []protoreflect.Name
	matches      func(proto.Message) bool // nil: all of the kinds
	observe      func(from, to *member, m proto.Message)
	action       ruleAction
	count        int // messages that met it
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
func (w *World) dropRule(from, to *member, kinds ...string) *rule {
	return w.addRule(&rule{from: from, to: to, action: dropped}, kinds)
}

// keep holds messages back until release.
func (w *World) holdRule(from, to *member, kinds ...string) *rule {
	return w.addRule(&rule{from: from, to: to, action: held}, kinds)
}

// tap has see look at messages when they are sent. It must not end a life: a power cut there is planned with after.
func (w *World) observeRule(from, to *member, see func(from, to *member, m proto.Message), kinds ...string) *rule {
	return w.addRule(&rule{from: from, to: to, observe: see, action: observeOnly}, kinds)
}

// when narrows a rule.
func (r *rule) where(only func(proto.Message) bool) *rule {
	r.matches = only
	if r.action != observeOnly {
		r.world.events.note("but only some")
	}
	return r
}

// end takes a rule back. What it kept is lost.
func (r *rule) end() { r.ended, r.heldMessages = true, nil }

// release takes a rule back and sends on what it kept, in order.
func (r *rule) release() {
	r.world.events.note("releases " + r.String())
	waiting := r.heldMessages
	r.end()
	for _, send := range waiting {
		send()
	}
}

// again sends on what it kept so far, and keeps it: the same may arrive as often as a script likes.
func (r *rule) resendHeld() {
	for _, send := range r.heldMessages {
		send()
	}
}

// realVote narrows to votes that bind, as against pre-votes.
func realVote(m proto.Message) bool {
	v, ok := m.(interface{ GetPreVote() bool })
	return ok && !v.GetPreVote()
}

func (w *World) addRule(r *rule, kinds []string) *rule {
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
func (r *rule) String() string {
	what := "all messages"
	if len(r.kinds) > 0 {
		what = strings.Trim(fmt.Sprint(r.kinds), "[]")
	}
	for _, end := range []struct {
		word string
		of   *member
	}{{" from ", r.from}, {" to ", r.to}} {
		if end.of != nil {
			what += end.word + strconv.FormatUint(end.of.id, 10)
		}
	}
	return what
}

// messageKind refuses what is no message: a rule or a trap for it would never be met, and prove nothing.
func messageKind(name string) protoreflect.Name {
	for _, file := range []protoreflect.FileDescriptor{messages.File_messages_peer_proto, messages.File_messages_local_proto} {
		if file.Messages().ByName(protoreflect.Name(name)) != nil {
			return protoreflect.Name(name)
		}
	}
	panic(fmt.Errorf("no message is called %q", name))
}

func kindOf(m proto.Message) protoreflect.Name { return m.ProtoReflect().Descriptor().Name() }

// ruled asks the rules about a message, and tells whether one has taken it. send puts it on its way.
func (w *World) applyRules(from, to *member, id uint64, m proto.Message, send func()) bool {
	for _, r := range w.network.rules {
		if r.ended || r.from != nil && r.from != from || r.to != nil && r.to != to {
			continue
		}
		if len(r.kinds) > 0 && !slices.Contains(r.kinds, kindOf(m)) || r.matches != nil && !r.matches(m) {
			continue
		}
		r.count++
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
type failpoint struct {
	actor     string            // as in mailbox.name
	kind      protoreflect.Name // "": any
	remaining int
	when      crashTiming
	repeats   int // how often more, at messages that follow
	// cut, if not nil, is a power cut of the whole member; else the actor crashes.
	endRun func()
	// meets, if not nil, is only called.
	callback func()
}

// crashes has an actor of a member fail at its nth message of a kind, before or after it is handled.
func (m *member) crashAt(actor, kind string, nth int, when crashTiming) {
	m.failpoints = append(m.failpoints, &failpoint{actor: actor, kind: messageKind(kind), remaining: nth, when: when})
}

// dies has end called in place of an actor's nth message of a kind, or right after that was handled. end is to end the
// member's life, since the message is lost.
func (m *member) endRunAt(actor, kind string, nth int, when crashTiming, end func()) {
	m.failpoints = append(m.failpoints, &failpoint{actor: actor, kind: messageKind(kind), remaining: nth, when: when, endRun: end})
}

// meets has something called before an actor's nth message of a kind.
func (m *member) callAt(actor, kind string, nth int, call func()) {
	m.failpoints = append(m.failpoints, &failpoint{actor: actor, kind: messageKind(kind), remaining: nth, callback: call})
}

// spring tells what is to happen with a message because of a trap.
func (m *member) hitFailpoint(b *mailbox, message any) (when crashTiming, cut func()) {
	_, message, _ = actor.UnwrapEnvelope(message)
	p, ok := message.(proto.Message)
	if !ok {
		return noCrash, nil
	}
	for i, t := range m.failpoints {
		if t.actor != b.path || t.kind != "" && t.kind != kindOf(p) {
			continue
		}
		if t.remaining--; t.remaining > 0 {
			continue
		}
		if t.repeats--; t.repeats < 0 {
			m.failpoints = slices.Delete(m.failpoints, i, i+1)
		}
		if t.callback != nil {
			t.callback()
			return noCrash, nil
		}
		return t.when, t.endRun
	}
	return noCrash, nil
}
