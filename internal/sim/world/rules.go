package world

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/troupe-raft/troupe/messages"
)

// Rule is what a script does to messages between members. Rules are asked in the order in which
// they were made; the first that matches a message decides about it. For the checker a message that
// a rule drops or holds was sent: its sender is bound by it whether or not it arrives.
type Rule struct {
	world        *World
	from, to     *Member // nil: any member
	kinds        []protoreflect.Name
	matches      func(proto.Message) bool // nil: all messages of the kinds
	observe      func(from, to *Member, m proto.Message)
	action       ruleAction
	Count        int // messages that matched
	heldMessages []func()
	ended        bool
}

// ruleAction is what happens to a message that matches a rule.
type ruleAction int

const (
	observeOnly ruleAction = iota // the next rule is asked
	dropped                       // it never arrives
	held                          // it arrives when the rule is released
)

// DropRule makes a rule that drops messages. Without kinds it matches all.
func (w *World) DropRule(from, to *Member, kinds ...string) *Rule {
	return w.addRule(&Rule{from: from, to: to, action: dropped}, kinds)
}

// HoldRule makes a rule that holds messages back until Release.
func (w *World) HoldRule(from, to *Member, kinds ...string) *Rule {
	return w.addRule(&Rule{from: from, to: to, action: held}, kinds)
}

// ObserveRule makes a rule that calls see for messages when they are sent. see must not end the run
// of a member: plan a power cut with After.
func (w *World) ObserveRule(from, to *Member, see func(from, to *Member, m proto.Message), kinds ...string) *Rule {
	return w.addRule(&Rule{from: from, to: to, observe: see, action: observeOnly}, kinds)
}

// Where narrows a rule.
func (r *Rule) Where(only func(proto.Message) bool) *Rule {
	r.matches = only
	if r.action != observeOnly {
		r.world.events.note("of these only some")
	}
	return r
}

// End ends a rule. The messages that it held are lost.
func (r *Rule) End() { r.ended, r.heldMessages = true, nil }

// Release ends a rule and sends the messages that it held, in order.
func (r *Rule) Release() {
	r.world.events.note("releases " + r.String())
	waiting := r.heldMessages
	r.End()
	for _, send := range waiting {
		send()
	}
}

// ResendHeld sends the messages that a rule held so far, and holds them still: they may arrive
// several times.
func (r *Rule) ResendHeld() {
	for _, send := range r.heldMessages {
		send()
	}
}

// RealVote matches votes and requests that are no pre-votes.
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

// String describes the messages that match.
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

// messageKind panics if there is no message of that name: a rule or a failpoint for it would never
// match, and prove nothing.
func messageKind(name string) protoreflect.Name {
	for _, file := range []protoreflect.FileDescriptor{messages.File_messages_peer_proto, messages.File_messages_local_proto} {
		if file.Messages().ByName(protoreflect.Name(name)) != nil {
			return protoreflect.Name(name)
		}
	}
	panic(fmt.Errorf("no message is called %q", name))
}

func kindOf(m proto.Message) protoreflect.Name { return m.ProtoReflect().Descriptor().Name() }

// applyRules asks the rules about a message, and reports whether one has taken it. send plans the
// arrival of the message.
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
			w.dropMessage(from, to, id, m, "dropped by the script")
			return true
		case held:
			r.heldMessages = append(r.heldMessages, send)
			return true
		}
	}
	return false
}
