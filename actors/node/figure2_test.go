package node

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/messages"
)

// TestFigure2 runs the rules of the Raft paper's Figure 2 on one Node, a file for each box of the
// figure. A file is input, expected output and documentation at once; the flag -rewrite replaces
// the expected output. The Node has id 1. The commands are:
//
//	node size=3 term=1 vote=0 commit=1 log=(1,1) leader=0   start: a log whose entries have these
//	                                                        terms, a leader that sends heartbeats
//	receive         messages, one a line, all in the mailbox before the Node handles the first
//	sync, sync all  the LogStore completes its oldest Append, or all of them
//	elapse 100ms    the clock advances, and timers fire
func TestFigure2(t *testing.T) {
	datadriven.Walk(t, "testdata/figure2", func(t *testing.T, path string) {
		script := &figure2Script{t: t}
		datadriven.RunTest(t, path, func(_ *testing.T, d *datadriven.TestData) string { return script.run(d) })
	})
}

// figure2Script runs the commands of one file.
type figure2Script struct {
	t        *testing.T
	s        *fixture
	reported int // Appends of s.pendingAppends that are in the output of an earlier command
}

func (p *figure2Script) run(d *datadriven.TestData) string {
	switch d.Cmd {
	case "node":
		p.start(d)
	case "receive":
		var all []proto.Message
		for _, line := range strings.Split(d.Input, "\n") {
			all = append(all, p.parseMessage(d, line))
		}
		p.s.deliver(all...)
	case "sync":
		if len(p.s.pendingAppends) == 0 {
			d.Fatalf(p.t, "there is nothing to sync")
		}
		for all := d.HasArg("all"); len(p.s.pendingAppends) > 0; {
			p.s.syncOldest()
			p.reported--
			if !all {
				break
			}
		}
	case "elapse":
		duration, err := time.ParseDuration(d.CmdArgs[0].Key)
		if err != nil {
			d.Fatalf(p.t, "%v", err)
		}
		p.s.Advance(duration)
	default:
		d.Fatalf(p.t, "there is no command %q", d.Cmd)
	}
	return p.output()
}

func (p *figure2Script) start(d *datadriven.TestData) {
	size, term, vote, commit, terms := 3, uint64(1), uint64(0), uint64(1), []uint64{1}
	d.MaybeScanArgs(p.t, "size", &size)
	d.MaybeScanArgs(p.t, "term", &term)
	d.MaybeScanArgs(p.t, "vote", &vote)
	d.MaybeScanArgs(p.t, "commit", &commit)
	if log, ok := d.Arg("log"); ok {
		terms = parseNumbers(p.t, log.Vals)
	}
	p.s, p.reported = newFixture(p.t, size), 0
	p.s.deliverRecovered(term, vote, commit, terms...)
	p.s.syncAll()
	p.s.clearRecorded()
	p.s.deliver(&messages.Pull{Incarnation: p.s.incarnation, From: commit + 1, MaxBytes: 1 << 20})
	if d.HasArg("leader") {
		var leader uint64
		d.ScanArgs(p.t, "leader", &leader)
		// Long enough that the fast campaign of the start is over.
		for elapsed := time.Duration(0); elapsed < 2*electionTimeout; elapsed += heartbeatInterval {
			p.s.deliver(&messages.Heartbeat{Term: term, Leader: leader})
			p.s.Advance(heartbeatInterval)
		}
		p.s.deliver(&messages.Heartbeat{Term: term, Leader: leader})
		p.s.syncAll()
		p.s.clearRecorded()
	}
}

// fields are the words of a message line: its kind, flags, and key=value pairs.
type fields struct {
	t      *testing.T
	kind   string
	values map[string]string
}

func (f fields) number(key string) uint64 {
	if f.values[key] == "" {
		return 0
	}
	return parseNumbers(f.t, []string{f.values[key]})[0]
}

// position parses "index/term".
func (f fields) position(key string) (index, term uint64) {
	if text, ok := f.values[key]; ok {
		p := parseNumbers(f.t, strings.Split(text, "/"))
		return p[0], p[1]
	}
	return 0, 0
}

func (f fields) has(flag string) bool { _, ok := f.values[flag]; return ok }

func (p *figure2Script) parseMessage(d *datadriven.TestData, line string) proto.Message {
	words := strings.Fields(line)
	f := fields{p.t, words[0], map[string]string{}}
	for _, w := range words[1:] {
		key, value, _ := strings.Cut(w, "=")
		f.values[key] = value
	}
	from, term := f.number("from"), f.number("term")
	switch f.kind {
	case "RequestVote":
		index, lastTerm := f.position("last")
		return &messages.RequestVote{Term: term, Candidate: from, LastIndex: index, LastTerm: lastTerm, PreVote: f.has("pre-vote")}
	case "VoteResponse":
		return &messages.VoteResponse{Term: term, Voter: from, Granted: f.has("granted"), PreVote: f.has("pre-vote")}
	case "AppendEntries":
		index, prevTerm := f.position("prev")
		var terms []uint64
		if f.values["entries"] != "" {
			terms = parseNumbers(p.t, strings.Split(f.values["entries"], ","))
		}
		return &messages.AppendEntries{
			Term: term, Leader: from, PrevIndex: index, PrevTerm: prevTerm, Commit: f.number("commit"),
			Stream: 1, Sequence: 1, Entries: newEntries(index+1, terms...),
		}
	case "Heartbeat":
		commit, commitTerm := f.position("commit")
		return &messages.Heartbeat{Term: term, Leader: from, Commit: commit, CommitTerm: commitTerm, Round: f.number("round")}
	case "HeartbeatResponse":
		return &messages.HeartbeatResponse{Term: term, From: from, Round: f.number("round")}
	case "Progress":
		return p.s.newProgress(from, f.number("match"))
	case "Propose":
		return &messages.Propose{Data: newProposal(f.number("sequence"), 4)}
	}
	d.Fatalf(p.t, "there is no message %q", f.kind)
	return nil
}

func parseNumbers(t *testing.T, texts []string) (all []uint64) {
	for _, text := range texts {
		n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, n)
	}
	return all
}

// output is what the Node sent since the last command, and its state.
func (p *figure2Script) output() string {
	var b strings.Builder
	s := p.s
	if len(s.Failures) > 0 {
		fmt.Fprintf(&b, "failed: %v\n", s.Failures)
		return b.String()
	}
	for _, a := range s.pendingAppends[p.reported:] {
		fmt.Fprintf(&b, "store: %s\n", describeAppend(a))
	}
	p.reported = len(s.pendingAppends)
	for _, m := range s.sentToPeers {
		fmt.Fprintf(&b, "to %d: %s\n", m.to, describeMessage(m.message))
	}
	for _, id := range []uint64{1, 2, 3, 4, 5} {
		for _, m := range s.sentToReplicator[id] {
			if r, ok := m.(*messages.Replicate); ok {
				fmt.Fprintf(&b, "to the replicator of %d: %s, commit %d\n", id, describeEntries(r.Entries), r.Commit)
			}
		}
	}
	for i := 0; i < len(s.sentToMachine); i++ {
		c := s.sentToMachine[i]
		last := c.OnDiskThrough
		if last > 0 {
			fmt.Fprintf(&b, "apply: entries through %d, read from disk\n", last)
		} else {
			fmt.Fprintf(&b, "apply: %s\n", describeEntries(c.Entries))
			last = c.Entries.First + uint64(len(c.Entries.Data)) - 1
		}
		s.deliver(&messages.Pull{Incarnation: s.incarnation, From: last + 1, MaxBytes: 1 << 20})
	}
	s.sentToPeers, s.sentToMachine, s.sentToReplicator = nil, nil, map[uint64][]proto.Message{}
	n := s.node
	var terms []string
	for i := uint64(1); i <= n.log.lastIndex(); i++ {
		term, _ := n.log.terms.Term(i)
		terms = append(terms, strconv.FormatUint(term, 10))
	}
	fmt.Fprintf(&b, "%s: term %d, vote %s, log %s, commit %d\n",
		n.role.name(), n.term, orNone(n.vote), strings.Join(terms, " "), n.log.commitIndex)
	return b.String()
}

func describeAppend(a *messages.Append) string {
	parts := []string{fmt.Sprintf("term %d, vote %s", a.HardState.Term, orNone(a.HardState.Vote))}
	if a.TruncateFrom > 0 {
		parts = append(parts, fmt.Sprintf("remove from %d on", a.TruncateFrom))
	}
	if len(a.Entries.GetData()) > 0 {
		parts = append(parts, describeEntries(a.Entries))
	}
	text := strings.Join(parts, "; ")
	for _, m := range a.Deferred {
		text += fmt.Sprintf("\n  after the sync to %d: %s", m.To, describeMessage(m.Envelope.PeerMessage()))
	}
	return text
}

func describeEntries(e *messages.Entries) string {
	if len(e.GetData()) == 0 {
		return "no entries"
	}
	var all []string
	for i := range e.Data {
		index := e.First + uint64(i)
		run := e.Runs[0]
		for _, r := range e.Runs {
			if r.FirstIndex <= index {
				run = r
			}
		}
		all = append(all, fmt.Sprintf("%d/%d", index, run.Term))
	}
	return "entries " + strings.Join(all, " ")
}

func describeMessage(m proto.Message) string {
	flag := func(set bool, yes, no string) string {
		if set {
			return yes
		}
		return no
	}
	switch m := m.(type) {
	case *messages.RequestVote:
		return fmt.Sprintf("RequestVote term %d, last %d/%d%s", m.Term, m.LastIndex, m.LastTerm, flag(m.PreVote, ", pre-vote", ""))
	case *messages.VoteResponse:
		return fmt.Sprintf("VoteResponse term %d, %s%s", m.Term, flag(m.Granted, "granted", "refused"), flag(m.PreVote, ", pre-vote", ""))
	case *messages.AppendResponse:
		if m.Accepted {
			return fmt.Sprintf("AppendResponse term %d, accepted through %d", m.Term, m.Index)
		}
		return fmt.Sprintf("AppendResponse term %d, refused at %d, conflict term %d from %d", m.Term, m.Index, m.ConflictTerm, m.ConflictIndex)
	case *messages.Heartbeat:
		return fmt.Sprintf("Heartbeat term %d, commit %d", m.Term, m.Commit)
	case *messages.HeartbeatResponse:
		return fmt.Sprintf("HeartbeatResponse term %d", m.Term)
	}
	return string(m.ProtoReflect().Descriptor().Name())
}

func orNone(id uint64) string {
	if id == 0 {
		return "none"
	}
	return strconv.FormatUint(id, 10)
}

// The boxes of the figure that hold rules for one server. "State" is shown by every output.
func TestFigure2HasAFileForEachBox(t *testing.T) {
	var found []string
	datadriven.Walk(t, "testdata/figure2", func(t *testing.T, path string) {
		found = append(found, strings.TrimPrefix(path, "testdata/figure2/"))
	})
	want := []string{"all_servers.txt", "append_entries.txt", "candidates.txt", "followers.txt", "leaders.txt", "request_vote.txt"}
	if !slices.Equal(found, want) {
		t.Errorf("files %v, want %v", found, want)
	}
}
