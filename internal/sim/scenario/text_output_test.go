package scenario

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/troupe-raft/troupe/internal/sim/trace"
	"github.com/troupe-raft/troupe/internal/sim/world"
)

// The commands of a scenario in text that let time pass, and those that print.

func (x *textScenario) durationArg(d *datadriven.TestData) time.Duration {
	var text string
	d.ScanArgs(x.t, "for", &text)
	return x.duration(d, text)
}

// runFor lets virtual time pass: "run 50ms".
func (x *textScenario) runFor(d *datadriven.TestData) string {
	x.startAll()
	x.advance(x.duration(d, d.CmdArgs[0].Key))
	return ""
}

// until runs until a condition holds:
//
//	until leader       a majority follows a leader, or leader=2: member 2
//	until committed    and all entries of its log are committed
//	until converged    and all members that it can reach hold and have applied its log
//	until equal=2      the log of member 2 is the leader's
//	until role=(1,follower)
func (x *textScenario) until(d *datadriven.TestData) string {
	x.startAll()
	arg := d.CmdArgs[0]
	within := 10 * world.ElectionTimeout
	equal := func(m, l *world.Member) bool {
		v := l.View
		return m.View.LeaderID == l.ID() && m.View.LastIndex == v.LastIndex && m.View.LastTerm == v.LastTerm && m.View.DurableIndex == v.LastIndex
	}
	behind := func(m, l *world.Member) bool {
		return !equal(m, l) || m.View.Commit != l.View.LastIndex || m.Applied != l.View.LastIndex
	}
	switch arg.Key {
	case "leader":
		x.within(within, "a leader", func() bool {
			l := x.majorityLeader()
			return l != nil && (len(arg.Vals) == 0 || l == x.member(d, arg.Vals[0]))
		})
		l := x.majorityLeader()
		return fmt.Sprintf("member %d leads in term %d", l.ID(), l.View.Term)
	case "committed":
		x.within(within, "all is committed", func() bool {
			l := x.majorityLeader()
			return l != nil && l.View.Commit == l.View.LastIndex
		})
	case "converged":
		x.within(within, "all members converge", func() bool {
			l := x.majorityLeader()
			return l != nil && !slices.ContainsFunc(x.reachable(l), func(m *world.Member) bool { return behind(m, l) })
		})
	case "equal":
		m := x.member(d, arg.Vals[0])
		x.within(within, "the logs are equal", func() bool { l := x.majorityLeader(); return l != nil && equal(m, l) })
		x.advance(2 * x.Conditions.MaxLatency) // its response arrives
	case "role":
		m := x.member(d, arg.Vals[0])
		x.within(within, "the role", func() bool { return m.View.Role == arg.Vals[1] })
	default:
		d.Fatalf(x.t, "there is no condition %q", arg.Key)
	}
	return ""
}

// logs draws the logs, a row a member and a column an index, with the term of each entry:
//
//	[2]  at or below the commit index of the member
//	 2   above it
//	(2)  not on the member's disk yet; {2} if committed all the same
func (x *textScenario) logs(*datadriven.TestData) string {
	var rows []string
	longest, width := 0, 0
	for _, m := range x.Members {
		width = max(width, len(x.label(m))+2)
	}
	for _, m := range x.Members {
		log, commit, durable := x.logOf(m)
		row := fmt.Sprintf("%-*s%-18s", width, x.label(m), standing(m))
		for i, term := range log {
			row += cell(term, uint64(i+1) <= commit, uint64(i+1) <= durable)
		}
		longest = max(longest, len(log))
		rows = append(rows, strings.TrimRight(row, " "))
	}
	head := strings.Repeat(" ", width+18)
	for i := range longest {
		head += fmt.Sprintf(" %-2d", i+1)
	}
	return strings.TrimRight(head, " ") + "\n" + strings.Join(rows, "\n")
}

func cell(term uint64, committed, durable bool) string {
	brackets := "  "
	switch {
	case committed && durable:
		brackets = "[]"
	case committed:
		brackets = "{}"
	case !durable:
		brackets = "()"
	}
	return fmt.Sprintf("%c%d%c", brackets[0], term, brackets[1])
}

// logOf returns the terms of a member's log, and its commit and durable index. A member that does
// not run has what its disk holds.
func (x *textScenario) logOf(m *world.Member) (terms []uint64, commit, durable uint64) {
	if m.Up() {
		return x.Checker.LogTerms(m.ID()), m.View.Commit, m.View.DurableIndex
	}
	text := x.members[m]
	if m.RunNumber == 0 {
		terms, commit = text.initial.Log, text.initial.Commit
	} else {
		for i := uint64(1); x.Checker.DurableTerm(m.ID(), i) != 0; i++ {
			terms = append(terms, x.Checker.DurableTerm(m.ID(), i))
		}
		commit = m.View.Commit
	}
	return terms, commit, uint64(len(terms))
}

func (x *textScenario) label(m *world.Member) string {
	if name := x.members[m].name; name != "" {
		return fmt.Sprintf("%d (%s)", m.ID(), name)
	}
	return fmt.Sprint(m.ID())
}

// standing is the role and the term of a member.
func standing(m *world.Member) string {
	if !m.Up() {
		return "down"
	}
	return fmt.Sprintf("%s t%d", roleText(m.View.Role), m.View.Term)
}

func roleText(role string) string {
	switch role {
	case "preCandidate":
		return "pre-candidate"
	case "":
		return "starting"
	}
	return role
}

// state prints what each member reports of itself.
func (x *textScenario) state(*datadriven.TestData) string {
	rows := []string{"member  role           term  vote  leader  last  durable  commit  applied"}
	for _, m := range x.Members {
		if !m.Up() {
			rows = append(rows, fmt.Sprintf("%-8sdown", x.label(m)))
			continue
		}
		v := m.View
		rows = append(rows, fmt.Sprintf("%-8s%-15s%-6d%-6s%-8s%-6d%-9d%-8d%d", x.label(m), roleText(v.Role), v.Term,
			idText(v.Vote), idText(v.LeaderID), v.LastIndex, v.DurableIndex, v.Commit, m.Applied))
	}
	return strings.Join(rows, "\n")
}

func idText(id uint64) string {
	if id == 0 {
		return "-"
	}
	return fmt.Sprint(id)
}

// trace prints what happened in the last command that let time pass: the messages between members
// in the order in which they arrive, and what members change. Heartbeats and responses that bring
// neither a higher term nor a higher commit index are left out, unless the argument heartbeats is
// given. Ids of members restrict it to what concerns them.
func (x *textScenario) trace(d *datadriven.TestData) string {
	only := map[uint64]bool{}
	for _, m := range x.operands(&datadriven.TestData{Cmd: d.Cmd, CmdArgs: slices.DeleteFunc(slices.Clone(d.CmdArgs), isFlag)}) {
		only[m.ID()] = true
	}
	t := traceText{
		heartbeats: d.HasArg("heartbeats"), states: map[uint64]trace.State{}, up: map[uint64]bool{},
		starting: map[uint64]bool{}, last: map[uint64]uint64{},
	}
	for i, e := range x.recorder.Events {
		if i == x.traced {
			t.lines = nil
		}
		if i < x.traced || len(only) == 0 || only[e.Member] || only[e.Peer] {
			t.add(e)
		}
	}
	if x.traced >= len(x.recorder.Events) {
		t.lines = nil
	}
	return strings.Join(t.text(), "\n")
}

func isFlag(arg datadriven.CmdArg) bool { return arg.Key == "heartbeats" }

// readID is the id of a read, which the seed chooses.
var readID = regexp.MustCompile(`^id \d+(, )?`)

// traceText makes lines of events.
type traceText struct {
	heartbeats bool
	lines      []traceLine
	states     map[uint64]trace.State
	up         map[uint64]bool
	starting   map[uint64]bool   // the log that the next event shows is the recovered one
	last       map[uint64]uint64 // the last index of each log
}

// traceLine is a message, or what a member does.
type traceLine struct {
	from, text string
	to         []string // nil: no message
	step       int
	log        bool // a change of the log
}

func (t *traceText) add(e *trace.Event) {
	switch e.Kind {
	case trace.Start:
		t.starting[e.Member], t.up[e.Member], t.states[e.Member] = true, true, trace.State{}
		t.note(e, "starts")
	case trace.Kill, trace.Stop:
		t.up[e.Member] = false
	case trace.StateChanged:
		t.stateChanged(e)
	case trace.LogChanged:
		t.logChanged(e)
	case trace.Arrived:
		t.message(e, e.Detail)
	case trace.Lost:
		if t.up[e.Peer] {
			t.message(e, "lost")
		}
	}
}

// note adds what a member does. Within a step of a member, its role comes before the changes of its
// log, since the events come in the order in which the simulator sees them.
func (t *traceText) note(e *trace.Event, format string, values ...any) {
	line := traceLine{from: fmt.Sprint(e.Member), text: fmt.Sprintf(format, values...), step: e.Step, log: e.Kind == trace.LogChanged}
	at := len(t.lines)
	for !line.log && at > 0 && t.lines[at-1].log && t.lines[at-1].step == e.Step && t.lines[at-1].from == line.from {
		at--
	}
	t.lines = slices.Insert(t.lines, at, line)
}

// message adds a message. Equal messages of one sender that follow each other share a line.
func (t *traceText) message(e *trace.Event, detail string) {
	if strings.HasPrefix(e.Name, "Heartbeat") && !t.heartbeats && !t.isNews(e) {
		return
	}
	text := strings.TrimRight(e.Name+": "+readID.ReplaceAllString(detail, ""), ": ")
	line := traceLine{from: fmt.Sprint(e.Member), to: []string{fmt.Sprint(e.Peer)}, text: text}
	if n := len(t.lines); n > 0 && t.lines[n-1].to != nil && t.lines[n-1].from == line.from && t.lines[n-1].text == line.text &&
		!slices.Contains(t.lines[n-1].to, line.to[0]) {
		t.lines[n-1].to = append(t.lines[n-1].to, line.to...)
		slices.Sort(t.lines[n-1].to)
		return
	}
	t.lines = append(t.lines, line)
}

// isNews reports whether a heartbeat or its response has a higher term or commit index than its
// receiver.
func (t *traceText) isNews(e *trace.Event) bool {
	var term, commit uint64
	fmt.Sscanf(e.Detail, "term %d, commit %d", &term, &commit)
	to := t.states[e.Peer]
	return e.Kind == trace.Arrived && (term > to.Term || commit > to.Commit)
}

func (t *traceText) stateChanged(e *trace.Event) {
	was, is := t.states[e.Member], *e.State
	t.states[e.Member] = is
	if was.Role != is.Role && is.Role != "recovering" || was.Term != is.Term {
		t.note(e, "%s in term %d", roleText(is.Role), is.Term)
	}
	if is.Vote != 0 && (was.Vote != is.Vote || was.Term != is.Term) {
		t.note(e, "votes for %d", is.Vote)
	}
	if was.Commit != is.Commit {
		t.lines = append(t.lines, traceLine{from: fmt.Sprint(e.Member), text: fmt.Sprintf("commit index %d", is.Commit)})
	}
}

func (t *traceText) logChanged(e *trace.Event) {
	l := e.Log
	was := t.last[e.Member]
	t.last[e.Member] = l.Last
	if t.starting[e.Member] {
		t.starting[e.Member] = false
		return
	}
	if l.From <= was {
		t.note(e, "removes the entries from %d", l.From)
	}
	var entries []string
	for i := l.From; i <= l.Last; i++ {
		entries = append(entries, fmt.Sprintf("%d/%d", i, l.TermAt(i)))
	}
	if len(entries) > 0 {
		t.note(e, "appends %s", strings.Join(entries, " "))
	}
}

// text returns the lines with their texts in one column.
func (t *traceText) text() (lines []string) {
	width := 0
	for _, l := range t.lines {
		width = max(width, len([]rune(l.head())))
	}
	for _, l := range t.lines {
		lines = append(lines, fmt.Sprintf("%-*s  %s", width, l.head(), l.text))
	}
	return lines
}

func (l *traceLine) head() string {
	if l.to == nil {
		return l.from
	}
	return l.from + " → " + strings.Join(l.to, ",")
}
