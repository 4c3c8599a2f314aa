package scenario

import (
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/cockroachdb/datadriven"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/internal/sim/history"
	"github.com/troupe-raft/troupe/internal/sim/world"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

// The commands of a scenario in text that make something happen.

func linesOf(text string) iter.Seq[string] { return strings.SplitSeq(strings.TrimSpace(text), "\n") }

// registerKey is the key of the value that writes append to and reads return.
const registerKey = 1

// register registers the client sessions of members: "register 1 2".
func (x *textScenario) register(d *datadriven.TestData) string {
	x.startAll()
	var out []string
	for _, m := range x.operands(d) {
		out = append(out, x.registerMember(m))
	}
	return strings.Join(out, "\n")
}

func (x *textScenario) registerMember(m *world.Member) string {
	m.NoRegistration = false
	m.Embedder.Deliver(&messages.ProposalsRefused{ // the one that was dropped: it is sent again
		SessionIds: []uint64{0}, Sequences: []uint64{0}, Reason: messages.Refusal_REFUSAL_NO_LEADER, Term: m.View.Term,
	})
	before := m.View.LastIndex
	x.within(5*world.ElectionTimeout, "the session is registered", func() bool { return m.Embedder.Registered() })
	return fmt.Sprintf("the session of member %d is registered at index %d", m.ID(), max(before+1, m.View.LastIndex))
}

// elect gives a member the shortest election timeout and waits until a majority follows it.
func (x *textScenario) elect(d *datadriven.TestData) string {
	m := x.member(d, d.CmdArgs[0].Key)
	x.orderTimers([]*world.Member{m})
	x.startAll()
	x.within(10*world.ElectionTimeout, "the member leads", func() bool { return x.majorityLeader() == m })
	return fmt.Sprintf("member %d leads in term %d", m.ID(), m.View.Term)
}

// timers gives members equal election timeouts, shorter than those of the others: "timers 2 3".
func (x *textScenario) timers(d *datadriven.TestData) string {
	x.orderTimers(x.operands(d))
	return ""
}

func (x *textScenario) orderTimers(first []*world.Member) {
	for i, m := range x.Members {
		share := 0.5 + float64(i)/20
		if slices.Contains(first, m) {
			share = 0.1
		}
		x.setTimer(m, share)
	}
}

// transferTo asks the leader to hand leadership over: "transfer to=2",
// "transfer to=2 nowait".
func (x *textScenario) transferTo(d *datadriven.TestData) string {
	target := x.memberArg(d, "to", nil)
	x.transfer(x.leader(d), target)
	if d.HasArg("nowait") {
		return ""
	}
	x.within(5*world.ElectionTimeout, "the target leads", func() bool { return x.majorityLeader() == target })
	return fmt.Sprintf("member %d leads in term %d", target.ID(), target.View.Term)
}

// write appends a letter to the value that the cluster stores: "write a", "write a at=2",
// "write a nowait".
func (x *textScenario) write(d *datadriven.TestData) string {
	value := d.CmdArgs[0].Key
	m := x.memberArg(d, "at", nil)
	if m == nil {
		m = x.leader(d)
	}
	output := ""
	if !m.Embedder.Registered() {
		output = x.registerMember(m) + "\n"
		x.traced = len(x.recorder.Events)
	}
	o := x.begin(m, history.Append, registerKey, "", value)
	x.operations[value] = o
	if d.HasArg("nowait") {
		return output + "pending"
	}
	x.within(5*world.ElectionTimeout, "the write has a result", func() bool { return o.Outcome != history.Pending })
	return output + x.outcome(o)
}

// read reads the value: "read", "read at=2 mode=local", "read as=r nowait". The modes are index,
// lease, log, leader and local.
func (x *textScenario) read(d *datadriven.TestData) string {
	m := x.memberArg(d, "at", nil)
	if m == nil {
		m = x.leader(d)
	}
	mode, name := "index", "read"
	d.MaybeScanArgs(x.t, "mode", &mode)
	d.MaybeScanArgs(x.t, "as", &name)
	modes := map[string]history.Op{
		"index": history.GetIndex, "lease": history.GetLease, "log": history.GetLog,
		"leader": history.GetLeader, "local": history.GetLocal,
	}
	op, known := modes[mode]
	if !known {
		d.Fatalf(x.t, "there is no read mode %q", mode)
	}
	o := x.begin(m, op, registerKey, "", "")
	x.operations[name] = o
	if d.HasArg("nowait") && o.Outcome == history.Pending {
		return "pending"
	}
	x.within(5*world.ElectionTimeout, "the read has a result", func() bool { return o.Outcome != history.Pending })
	return x.outcome(o)
}

// result prints what became of operations: "result a b", "result a wait".
func (x *textScenario) result(d *datadriven.TestData) string {
	var out []string
	for _, arg := range d.CmdArgs {
		o := x.operations[arg.Key]
		switch {
		case arg.Key == "wait":
			continue
		case o == nil:
			d.Fatalf(x.t, "there is no operation %q", arg.Key)
		case d.HasArg("wait"):
			x.within(5*world.ElectionTimeout, "there is a result", func() bool { return o.Outcome != history.Pending })
		}
		out = append(out, arg.Key+": "+x.outcome(o))
	}
	return strings.Join(out, "\n")
}

func (x *textScenario) outcome(o *history.Operation) string {
	switch {
	case o.Outcome != history.Answered:
		return o.Outcome.String()
	case o.Kind.Writes():
		return fmt.Sprintf("applied at index %d", o.Index)
	}
	return fmt.Sprintf("%q", o.Reply.Before)
}

// isolateMember cuts a member off from all others.
func (x *textScenario) isolateMember(d *datadriven.TestData) string {
	for _, m := range x.operands(d) {
		x.Driver.Isolate(m, true)
	}
	return ""
}

// cut divides the members into groups that cannot reach each other: "cut 1,2 3,4,5".
func (x *textScenario) cut(d *datadriven.TestData) string {
	var groups [][]*world.Member
	for _, arg := range d.CmdArgs {
		var group []*world.Member
		for id := range strings.SplitSeq(arg.Key, ",") {
			group = append(group, x.member(d, id))
		}
		groups = append(groups, group)
	}
	x.partition(groups...)
	return ""
}

// heal reconnects all members.
func (x *textScenario) heal(*datadriven.TestData) string {
	x.cutBetween(x.Members, x.Members, false)
	return ""
}

// drop loses messages until release: "drop NAME from=1 to=2 kinds=(AppendEntries) after=2". With
// after, a member receives requests until one with the entry of that index was sent to it, and from
// then on none with entries behind it.
func (x *textScenario) drop(d *datadriven.TestData) string {
	r := x.rule(d, x.DropRule)
	if d.HasArg("after") {
		var after uint64
		d.ScanArgs(x.t, "after", &after)
		sent := false
		r.Where(func(m proto.Message) bool {
			e := m.(*messages.AppendEntries).GetEntries()
			sent = sent || e.GetFirst() == after
			return sent && e.GetFirst() > after
		})
	}
	return ""
}

// hold delays messages until release: "hold NAME from=1 to=2 kinds=(RequestVote) no-pre-votes".
func (x *textScenario) hold(d *datadriven.TestData) string {
	x.rule(d, x.HoldRule)
	return ""
}

func (x *textScenario) rule(d *datadriven.TestData, add func(from, to *world.Member, kinds ...string) *world.Rule) *world.Rule {
	name := d.CmdArgs[0].Key
	if x.rules[name] != nil {
		d.Fatalf(x.t, "there is a rule %q", name)
	}
	var kinds []string
	if arg, ok := d.Arg("kinds"); ok {
		kinds = arg.Vals
	}
	x.rules[name] = add(x.memberArg(d, "from", nil), x.memberArg(d, "to", nil), kinds...)
	if d.HasArg("no-pre-votes") {
		x.rules[name].Where(world.RealVote)
	}
	return x.rules[name]
}

// release ends rules: "release NAME". What a hold rule delayed is sent.
func (x *textScenario) release(d *datadriven.TestData) string {
	for _, arg := range d.CmdArgs {
		r := x.rules[arg.Key]
		if r == nil {
			d.Fatalf(x.t, "there is no rule %q", arg.Key)
		}
		delete(x.rules, arg.Key)
		r.Release()
	}
	return ""
}

// resend sends what a hold rule delayed so far, and keeps it: "resend NAME".
func (x *textScenario) resend(d *datadriven.TestData) string {
	r := x.rules[d.CmdArgs[0].Key]
	if r == nil {
		d.Fatalf(x.t, "there is no rule %q", d.CmdArgs[0].Key)
	}
	r.ResendHeld()
	return ""
}

// kill ends processes by a power failure, in which disks lose what was not synced.
func (x *textScenario) kill(d *datadriven.TestData) string {
	for _, m := range x.operands(d) {
		m.PowerCut(vfs.LoseUnsynced)
	}
	return ""
}

// start starts members that do not run.
func (x *textScenario) start(d *datadriven.TestData) string {
	x.startAll()
	for _, m := range x.operands(d) {
		m.NoRegistration = true
		x.members[m].down = false
		x.restart(m)
	}
	return ""
}

// stall stops a disk for a time: "stall 1 for=300ms". Writes and syncs wait.
func (x *textScenario) stall(d *datadriven.TestData) string {
	for _, m := range x.operands(d) {
		m.Disk.StalledUntil = x.Now() + x.durationArg(d)
	}
	return ""
}

// pause stops a process for a time, as SIGSTOP does: "pause 1 for=2s".
func (x *textScenario) pause(d *datadriven.TestData) string {
	for _, m := range x.operands(d) {
		m.PausedUntil = x.Now() + x.durationArg(d)
	}
	return ""
}
