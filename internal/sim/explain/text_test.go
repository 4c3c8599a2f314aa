package explain_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/troupe-raft/troupe/internal/sim/explain"
	"github.com/troupe-raft/troupe/internal/sim/trace"
)

var rewrite = flag.Bool("explain.rewrite", false, "rewrite testdata and the example of docs/simulator.md")

func listing(t *testing.T, h trace.Header, events []*trace.Event, o explain.Options) string {
	t.Helper()
	var b bytes.Buffer
	if err := explain.Text(&b, encode(t, h, events), o); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// traceBuilder builds a small run with everything that the listing draws: an election, a write, a
// lost message, a kill.
type traceBuilder struct {
	events []*trace.Event
	step   int
	at     time.Duration
}

func (s *traceBuilder) add(after time.Duration, events ...trace.Event) {
	s.step++
	s.at += after
	for _, e := range events {
		e.Step, e.At = s.step, s.at
		s.events = append(s.events, &e)
	}
}

func messageEvent(kind trace.Kind, from, to, id uint64, name, detail string) trace.Event {
	return trace.Event{Kind: kind, Member: from, Peer: to, ID: id, Name: name, Detail: detail}
}

func stateEvent(member uint64, s trace.State) trace.Event {
	return trace.Event{Kind: trace.StateChanged, Member: member, State: &s}
}

// logEventWithTexts is a change of a log with texts of its entries.
func logEventWithTexts(member, from, term uint64, words ...string) trace.Event {
	e := logEvent(member, from, from+uint64(len(words))-1, term)
	e.Log.Texts = words
	return e
}

func logEvent(member, from, last, term uint64) trace.Event {
	return trace.Event{Kind: trace.LogChanged, Member: member, Log: &trace.Log{From: from, Last: last, Runs: []trace.Run{{First: from, Term: term}}}}
}

func electionAndWrite() (trace.Header, []*trace.Event) {
	s := &traceBuilder{}
	ms := time.Millisecond
	for id := uint64(1); id <= 3; id++ {
		s.add(ms, trace.Event{Kind: trace.Start, Member: id, Index: 1})
		s.add(ms, logEvent(id, 1, 1, 1), stateEvent(id, trace.State{Role: "follower", Term: 1, Commit: 1}))
	}
	const vote = "term 2, last 1/1"
	s.add(150*ms, stateEvent(2, trace.State{Role: "candidate", Term: 2, Vote: 2, Commit: 1}),
		messageEvent(trace.Sent, 2, 1, 1, "RequestVote", vote), messageEvent(trace.Sent, 2, 3, 2, "RequestVote", vote))
	s.add(2*ms, messageEvent(trace.Arrived, 2, 1, 1, "RequestVote", vote))
	s.add(ms, stateEvent(1, trace.State{Role: "follower", Term: 2, Vote: 2, Commit: 1}), messageEvent(trace.Sent, 1, 2, 3, "VoteResponse", "granted, term 2"))
	s.add(ms, messageEvent(trace.Lost, 2, 3, 2, "RequestVote", "random loss"))
	s.add(ms, messageEvent(trace.Arrived, 1, 2, 3, "VoteResponse", "granted, term 2"))
	s.add(ms/10, stateEvent(2, trace.State{Role: "leader", Term: 2, Vote: 2, Leader: 2, Commit: 1}), logEventWithTexts(2, 2, 2, "noop"))
	s.add(ms, messageEvent(trace.Sent, 2, 1, 4, "Heartbeat", "term 2"), messageEvent(trace.Sent, 2, 3, 5, "Heartbeat", "term 2"))
	s.add(ms, messageEvent(trace.Arrived, 2, 1, 4, "Heartbeat", "term 2"))
	s.add(ms, messageEvent(trace.Arrived, 2, 3, 5, "Heartbeat", "term 2"))
	s.add(ms/10, stateEvent(3, trace.State{Role: "follower", Term: 2, Leader: 2, Commit: 1}))
	s.add(400*ms, trace.Event{Kind: trace.Called, Member: 2, ID: 1, Actor: "client 1", Name: "put", Detail: `k1 = "a"`})
	const append3 = "term 2, prev 2/2, entry 3/2, commit 1"
	s.add(ms, logEventWithTexts(2, 3, 2, `put k1 = "a"`), messageEvent(trace.Sent, 2, 1, 6, "AppendEntries", append3))
	s.add(ms, trace.Event{Kind: trace.CutOff, Member: 2, Peer: 3}, trace.Event{Kind: trace.FaultInjected, Name: "cut", Member: 2})
	s.add(2*ms, messageEvent(trace.Arrived, 2, 1, 6, "AppendEntries", append3))
	s.add(ms, logEventWithTexts(1, 2, 2, "noop", `put k1 = "a"`), trace.Event{Kind: trace.Handled, Member: 1, Actor: "log", Name: "Append"}, messageEvent(trace.Sent, 1, 2, 7, "AppendResponse", "accepted to 3, term 2"))
	s.add(3*ms, messageEvent(trace.Arrived, 1, 2, 7, "AppendResponse", "accepted to 3, term 2"))
	s.add(ms/10, stateEvent(2, trace.State{Role: "leader", Term: 2, Vote: 2, Leader: 2, Commit: 3, Durable: 3}), trace.Event{Kind: trace.Applied, Member: 2, Index: 3})
	s.add(0, trace.Event{Kind: trace.Returned, Member: 2, ID: 1, Actor: "client 1", Name: "put", Detail: "answered at 3"})
	s.add(ms, trace.Event{Kind: trace.Kill, Member: 2})
	s.add(ms, trace.Event{Kind: trace.Note, Detail: "waits for: another leader"})
	return trace.Header{Seed: 7, Nodes: 3, Scenario: "an-example"}, s.events
}

// The listing of a small run is in testdata, for people to look at, and in the documentation.
func TestListingOfASmallRun(t *testing.T) {
	h, events := electionAndWrite()
	got := listing(t, h, events, explain.Options{Width: 100})
	golden, page := filepath.Join("testdata", "election-and-write.txt"), filepath.Join("..", "..", "..", "docs", "simulator.md")
	if *rewrite {
		rewriteExample(t, golden, page, got)
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the listing is:\n%s\nthe expected one is (-explain.rewrite replaces it):\n%s", got, want)
	}
	docs, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(docs, want) {
		t.Errorf("%s does not hold the present listing", page)
	}
}

func rewriteExample(t *testing.T, golden, page, listing string) {
	t.Helper()
	docs, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, found := strings.Cut(string(docs), "writes both. -->\n```\n")
	_, tail, closed := strings.Cut(rest, "```\n")
	if !found || !closed {
		t.Fatalf("%s has no place for the listing", page)
	}
	for name, text := range map[string]string{golden: listing, page: head + "writes both. -->\n```\n" + listing + "```\n" + tail} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// Seven nodes fit a usual terminal, and even a narrow column shows the term of a node and the sign
// of a response.
func TestListingFitsItsWidth(t *testing.T) {
	cut := regexp.MustCompile(`(foll|cand|pre|lead)[a-z.-]* t?…|─PreVote? *[─●]`)
	for _, name := range []string{"figure-8", "figure-7"} {
		run := runScenario(t, name)
		said := listing(t, run.Header, run.Events, explain.Options{})
		for line := range strings.Lines(said) {
			if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 120 || cut.MatchString(line) {
				t.Fatalf("%s: a line of %d columns, or with something cut off: %q", name, n, line)
			}
		}
		if name == "figure-7" && (!strings.Contains(said, "foll. t7") || !strings.Contains(said, "PreVot ✗")) {
			t.Errorf("the roles and responses of seven nodes are missing:\n%s", said)
		}
	}
}

func TestListingShowsWhatIsRequested(t *testing.T) {
	h, events := electionAndWrite()
	for _, c := range []struct {
		name    string
		options explain.Options
		has     []string
		lacks   []string
	}{
		{"default", explain.Options{}, []string{"Vote?", "leader t2", "client 1", "2 heartbeats and responses, 1 message within a node"}, []string{"─beat", "log: Append"}},
		{"heartbeats", explain.Options{Heartbeats: true}, []string{"●─beat"}, []string{"heartbeats and responses"}},
		{"actors", explain.Options{Actors: true}, []string{"log: Append"}, nil},
		{"a time", explain.Options{From: 500 * time.Millisecond, To: 565 * time.Millisecond}, []string{"put k1", "[1]"}, []string{"Vote?", "answered"}},
		{"a step", explain.Options{FromStep: 8, ToStep: 11}, []string{"Vote?", "Vote ✓"}, []string{"▲", "leader t2"}},
		{"one kind", explain.Options{Only: []string{"kill"}}, []string{"✖ killed"}, []string{"Vote?", "client 1"}},
		{"one message", explain.Options{Only: []string{"AppendResponse"}}, []string{"Append ✓"}, []string{"Vote?", "▲ run"}},
		{"heartbeats alone", explain.Options{Only: []string{"Heartbeat"}}, []string{"●─beat"}, []string{"Vote?"}},
	} {
		got := listing(t, h, events, c.options)
		for _, want := range c.has {
			if !strings.Contains(got, want) {
				t.Errorf("%s: %q is missing:\n%s", c.name, want, got)
			}
		}
		for _, want := range c.lacks {
			if strings.Contains(got, want) {
				t.Errorf("%s: %q is there:\n%s", c.name, want, got)
			}
		}
	}
}

func TestListingEndsWhereATraceIsDamaged(t *testing.T) {
	h, events := electionAndWrite()
	whole := encode(t, h, events).String()
	cut := whole[:strings.Index(whole, `"name":"put"`)]
	var b bytes.Buffer
	err := explain.Text(&b, strings.NewReader(cut), explain.Options{})
	if damage := new(trace.DamagedError); !errors.As(err, &damage) || !strings.Contains(b.String(), "leader t2") {
		t.Errorf("%v after:\n%s", err, b.String())
	}
	b.Reset()
	if err := explain.HTML(&b, strings.NewReader(cut), explain.Options{}); err != nil || !strings.Contains(b.String(), "The trace ends early") {
		t.Errorf("the page: %v", err)
	}
	if err := explain.HTML(&b, strings.NewReader("no trace"), explain.Options{}); !errors.Is(err, trace.ErrNotTrace) {
		t.Errorf("the page of a file that is no trace: %v", err)
	}
}

func TestListingHasNoControlCharacters(t *testing.T) {
	evil := "\x1b[2J\x07\u009b"
	events := []*trace.Event{
		{Step: 1, Kind: trace.Start, Member: 1, Detail: evil}, {Step: 2, Kind: trace.StateChanged, Member: 1, State: &trace.State{Role: evil, Term: 1}},
		{Step: 3, Kind: trace.Arrived, Member: 1, Peer: 2, ID: 1, Name: evil, Detail: evil}, {Step: 4, Kind: trace.Note, Detail: evil},
		{Step: 5, Kind: trace.Handled, Member: 1, Actor: evil, Name: evil}, {Step: 6, Kind: trace.FaultInjected, Name: evil, Member: 2},
		{Step: 7, Kind: trace.Called, Actor: evil, Name: evil, Member: 2}, {Step: 8, Kind: trace.Violated, Name: evil, Detail: evil},
	}
	got := listing(t, trace.Header{Nodes: 2, Scenario: evil}, events, explain.Options{Actors: true})
	for _, c := range []string{"\x1b", "\x07", "\u009b"} {
		if strings.Contains(got, c) {
			t.Errorf("the listing holds %q:\n%q", c, got)
		}
	}
}

// Any file is shown or refused.
func FuzzExplain(f *testing.F) {
	h, events := electionAndWrite()
	var b bytes.Buffer
	w := trace.NewWriter(&b)
	w.Begin(h)
	for _, e := range events {
		w.Record(e)
	}
	if err := w.Close(); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	for _, line := range []string{
		`{"step":1,"kind":"log","member":64,"log":{"from":9007199254740991,"last":9007199254740990}}`,
		`{"step":1,"kind":"log","member":1,"log":{"from":9007199254740991,"last":9007199254740991,"runs":[{"first":9007199254740991,"term":18446744073709551615}]}}`,
		`{"step":1,"kind":"arrive","member":1,"peer":1,"id":1}`,
		`{"step":1,"kind":"state","member":9,"state":{"role":"leader","term":3,"commit":18446744073709551615}}`,
	} {
		f.Add([]byte(fmt.Sprintf("{\"format\":%q,\"version\":%d,\"nodes\":3}\n%s\n", trace.Format, trace.Version, line)))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, o := range []explain.Options{{Heartbeats: true, Actors: true}, {FromStep: 2, Limit: 2}} {
			explain.Text(&bytes.Buffer{}, bytes.NewReader(data), o)
			explain.HTML(&bytes.Buffer{}, bytes.NewReader(data), o)
		}
	})
}
