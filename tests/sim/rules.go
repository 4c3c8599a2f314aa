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
	world    *World
	from, to *member // nil: anybody
	kinds    []protoreflect.Name
	only     func(proto.Message) bool // nil: all of the kinds
	hit      func(from, to *member, m proto.Message)
	does     treatment
	count    int // messages that met it
	kept     []func()
	off      bool
}

// treatment is what becomes of a message that meets a rule.
type treatment int

const (
	tapped treatment = iota // only looked at: the next rule is asked
	lost                    // it never arrives
	kept                    // it arrives when the rule is released
)

// lose has messages get lost. No kinds are all kinds.
func (w *World) lose(from, to *member, kinds ...string) *rule {
	return w.addRule(&rule{from: from, to: to, does: lost}, kinds)
}

// keep holds messages back until release.
func (w *World) keep(from, to *member, kinds ...string) *rule {
	return w.addRule(&rule{from: from, to: to, does: kept}, kinds)
}

// tap has see look at messages when they are sent. It must not end a life: a power cut there is planned with after.
func (w *World) tap(from, to *member, see func(from, to *member, m proto.Message), kinds ...string) *rule {
	return w.addRule(&rule{from: from, to: to, hit: see, does: tapped}, kinds)
}

// when narrows a rule.
func (r *rule) when(only func(proto.Message) bool) *rule {
	r.only = only
	if r.does != tapped {
		r.world.chronicle.noted("but only some")
	}
	return r
}

// end takes a rule back. What it kept is lost.
func (r *rule) end() { r.off, r.kept = true, nil }

// release takes a rule back and sends on what it kept, in order.
func (r *rule) release() {
	r.world.chronicle.noted("releases " + r.String())
	waiting := r.kept
	r.end()
	for _, send := range waiting {
		send()
	}
}

// again sends on what it kept so far, and keeps it: the same may arrive as often as a script likes.
func (r *rule) again() {
	for _, send := range r.kept {
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
		r.kinds = append(r.kinds, kindNamed(k))
	}
	w.network.rules = append(w.network.rules, r)
	switch r.does {
	case lost:
		w.chronicle.noted("loses " + r.String())
	case kept:
		w.chronicle.noted("holds back " + r.String())
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

// kindNamed refuses what is no message: a rule or a trap for it would never be met, and prove nothing.
func kindNamed(name string) protoreflect.Name {
	for _, file := range []protoreflect.FileDescriptor{messages.File_messages_peer_proto, messages.File_messages_local_proto} {
		if file.Messages().ByName(protoreflect.Name(name)) != nil {
			return protoreflect.Name(name)
		}
	}
	panic(fmt.Errorf("no message is called %q", name))
}

func kindOf(m proto.Message) protoreflect.Name { return m.ProtoReflect().Descriptor().Name() }

// ruled asks the rules about a message, and tells whether one has taken it. send puts it on its way.
func (w *World) ruled(from, to *member, id uint64, m proto.Message, send func()) bool {
	for _, r := range w.network.rules {
		if r.off || r.from != nil && r.from != from || r.to != nil && r.to != to {
			continue
		}
		if len(r.kinds) > 0 && !slices.Contains(r.kinds, kindOf(m)) || r.only != nil && !r.only(m) {
			continue
		}
		r.count++
		if r.hit != nil {
			r.hit(from, to, m)
		}
		switch r.does {
		case lost:
			w.lost(from, to, id, m, "as the script has it")
			return true
		case kept:
			r.kept = append(r.kept, send)
			return true
		}
	}
	return false
}

// trap waits for an actor's nth message of a kind, over all lives of the member.
type trap struct {
	actor string            // as in mailbox.name
	kind  protoreflect.Name // "": any
	left  int
	when  crash
	again int // how often more, at messages that follow
	// cut, if not nil, is a power cut of the whole member; else the actor crashes.
	cut func()
	// meets, if not nil, is only called.
	meets func()
}

// crashes has an actor of a member fail at its nth message of a kind, before or after it is handled.
func (m *member) crashes(actor, kind string, nth int, when crash) {
	m.traps = append(m.traps, &trap{actor: actor, kind: kindNamed(kind), left: nth, when: when})
}

// dies has end called in place of an actor's nth message of a kind, or right after that was handled. end is to end the
// member's life, since the message is lost.
func (m *member) dies(actor, kind string, nth int, when crash, end func()) {
	m.traps = append(m.traps, &trap{actor: actor, kind: kindNamed(kind), left: nth, when: when, cut: end})
}

// meets has something called before an actor's nth message of a kind.
func (m *member) meets(actor, kind string, nth int, call func()) {
	m.traps = append(m.traps, &trap{actor: actor, kind: kindNamed(kind), left: nth, meets: call})
}

// spring tells what is to happen with a message because of a trap.
func (m *member) spring(b *mailbox, message any) (when crash, cut func()) {
	_, message, _ = actor.UnwrapEnvelope(message)
	p, ok := message.(proto.Message)
	if !ok {
		return noCrash, nil
	}
	for i, t := range m.traps {
		if t.actor != b.name || t.kind != "" && t.kind != kindOf(p) {
			continue
		}
		if t.left--; t.left > 0 {
			continue
		}
		if t.again--; t.again < 0 {
			m.traps = slices.Delete(m.traps, i, i+1)
		}
		if t.meets != nil {
			t.meets()
			return noCrash, nil
		}
		return t.when, t.cut
	}
	return noCrash, nil
}
