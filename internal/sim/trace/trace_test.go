package trace_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/troupe-raft/troupe/internal/sim/trace"
)

var header = trace.Header{Seed: 1 << 63, Nodes: 5, Profile: "everything", Steps: 4000, Without: []string{"kill"}, FaultLimit: 3}

// all has an event of each kind.
var all = []*trace.Event{
	{Step: 1, At: time.Millisecond, Kind: trace.Start, Member: 1, Index: 1},
	{Step: 1, At: time.Millisecond, Kind: trace.LogChanged, Member: 1, Log: &trace.Log{From: 1, Last: 3, Runs: []trace.Run{{First: 1, Term: 1}, {First: 3, Term: 4}}, Texts: []string{"configuration", "noop"}}},
	{Step: 2, At: time.Millisecond, Kind: trace.StateChanged, Member: 1, State: &trace.State{Role: "leader", Term: 4, Vote: 1, Leader: 1, Commit: 2, Durable: 3}},
	{Step: 2, At: time.Second, Kind: trace.Applied, Member: 1, Index: 2},
	{Step: 3, At: time.Second, Kind: trace.Sent, Member: 1, Peer: 2, ID: 7, Name: "AppendEntries", Detail: "<\"&\u2028>"},
	{Step: 4, At: time.Second, Kind: trace.Duplicated, Member: 1, Peer: 2, ID: 7},
	{Step: 4, At: time.Second, Kind: trace.Arrived, Member: 1, Peer: 2, ID: 7},
	{Step: 5, At: time.Second, Kind: trace.Lost, Member: 1, Peer: 2, ID: 7, Detail: "cut"},
	{Step: 5, At: time.Second, Kind: trace.Handled, Member: 2, Actor: "node", Name: "AppendEntries"},
	{Step: 5, At: time.Second, Kind: trace.Panicked, Member: 2, Actor: "log"},
	{Step: 6, At: time.Second, Kind: trace.FaultInjected, Name: "pause", Member: 3, Until: 2 * time.Second},
	{Step: 6, At: time.Second, Kind: trace.CutOff, Member: 1, Peer: 3},
	{Step: 6, At: time.Second, Kind: trace.Healed, Member: 1, Peer: 3},
	{Step: 6, At: time.Second, Kind: trace.Called, Member: 3, ID: 1, Actor: "client 1", Name: "put"},
	{Step: 6, At: time.Second, Kind: trace.Returned, Member: 3, ID: 1, Actor: "client 1", Detail: "answered"},
	{Step: 7, At: time.Second, Kind: trace.LogChanged, Member: 1, Log: &trace.Log{From: 3, Last: 2}},
	{Step: 7, At: time.Second, Kind: trace.Note, Detail: "a script"},
	{Step: 7, At: time.Second, Kind: trace.Stop, Member: 1, Detail: "its disk is full"},
	{Step: 7, At: time.Second, Kind: trace.Kill, Member: 2},
	{Step: 8, At: time.Second, Kind: trace.Violated, Name: "election safety", Detail: "two"},
}

func encoded(t *testing.T) string {
	t.Helper()
	var b bytes.Buffer
	w := trace.NewWriter(&b)
	w.Begin(header)
	for _, e := range all {
		w.Record(e)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// decode reads to the first error.
func decode(text string) (events []*trace.Event, whole bool, err error) {
	r, err := trace.NewReader(strings.NewReader(text))
	if err != nil {
		return nil, false, err
	}
	for {
		e, err := r.Next()
		if err == io.EOF {
			return events, r.Complete(), nil
		}
		if err != nil {
			return events, false, err
		}
		events = append(events, e)
	}
}

func TestTraceRoundTrip(t *testing.T) {
	r, err := trace.NewReader(strings.NewReader(encoded(t)))
	if err != nil {
		t.Fatal(err)
	}
	want := header
	want.Format, want.Version = trace.Format, trace.Version
	if got := r.Header(); !reflect.DeepEqual(got, want) {
		t.Errorf("header %+v, want %+v", got, want)
	}
	events, whole, err := decode(encoded(t))
	if err != nil || !whole || !reflect.DeepEqual(events, all) {
		t.Errorf("whole %v, %v: %+v", whole, err, events)
	}
}

func TestIncompleteTraceIsDetected(t *testing.T) {
	text := encoded(t)
	lines := strings.SplitAfter(strings.TrimSuffix(text, "\n"), "\n")
	events, whole, err := decode(strings.Join(lines[:len(lines)-1], ""))
	if err != nil || whole || len(events) != len(all) {
		t.Errorf("without its end: %d events, whole %v, %v", len(events), whole, err)
	}
	for cut := len(lines[0]) + 1; cut < len(text)-1; cut++ {
		events, whole, err := decode(text[:cut])
		damage := new(trace.DamagedError)
		// A line without its newline may be complete; less of it is damage.
		if whole && cut < len(text)-1 || err != nil && !errors.As(err, &damage) || err == nil && !strings.HasSuffix(text[:cut], "}") && !strings.HasSuffix(text[:cut], "\n") {
			t.Fatalf("cut after %d bytes: %d events, whole %v, %v", cut, len(events), whole, err)
		}
	}
}

func TestForeignFilesAreRefused(t *testing.T) {
	for _, c := range []struct{ text, says string }{
		{"", "it is empty"},
		{"hello\n", "its first line is no header"},
		{"{}\n", "its first line is no header"},
		{`{"format":"somebody-else","version":2,"nodes":3}`, "its first line is no header"},
		{`{"format":"troupe-trace","version":1,"nodes":3}`, "it is of version 1, this program reads version 2; record the run again"},
		{`{"format":"troupe-trace","version":3,"nodes":3}`, "it is of version 3, this program reads version 2"},
		{strings.Repeat("x", trace.MaxLineBytes+1), "its first line is no header"},
	} {
		if _, err := trace.NewReader(strings.NewReader(c.text)); !errors.Is(err, trace.ErrNotTrace) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%.50q: %v, want %q", c.text, err, c.says)
		}
	}
	for _, nodes := range []int{0, -1, trace.MaxMembers + 1} {
		damage := new(trace.DamagedError)
		if _, err := trace.NewReader(strings.NewReader(fmt.Sprintf(`{"format":"troupe-trace","version":%d,"nodes":%d}`, trace.Version, nodes))); !errors.As(err, &damage) || damage.Line != 1 {
			t.Errorf("%d nodes: %v", nodes, err)
		}
	}
}

func TestDamagedLinesAreReported(t *testing.T) {
	good := strings.SplitAfter(encoded(t), "\n")
	for _, c := range []struct{ line, says string }{
		{"{", "unexpected end"},
		{"", "unexpected end"},
		{"[]", "cannot unmarshal"},
		{`{"step":1,"at":1000000,"kind":"gossip","member":1}`, `no kind of event called "gossip"`},
		{`{"step":1,"at":1000000,"kind":"kill"}`, "without a member"},
		{`{"step":1,"at":1000000,"kind":"send","member":1}`, "without a peer"},
		{`{"step":1,"at":1000000,"kind":"kill","member":65}`, "there may be 64"},
		{`{"step":1,"at":1000000,"kind":"state","member":1}`, "without the state"},
		{`{"step":1,"at":1000000,"kind":"log","member":1}`, "without the change"},
		{`{"step":1,"at":1000000,"kind":"log","member":1,"log":{"from":0,"last":0}}`, "change from 0 to 0"},
		{`{"step":1,"at":1000000,"kind":"log","member":1,"log":{"from":5,"last":3}}`, "change from 5 to 3"},
		{`{"step":1,"at":1000000,"kind":"log","member":1,"log":{"from":9007199254740992,"last":9007199254740992}}`, "a log's change"},
		{`{"step":1,"at":1000000,"kind":"log","member":1,"log":{"from":5,"last":5}}`, "first run does not begin there"},
		{`{"step":1,"at":1000000,"kind":"log","member":1,"log":{"from":5,"last":6,"runs":[{"first":5,"term":2},{"first":6,"term":1}]}}`, "do not ascend"},
		{`{"step":1,"at":1000000,"kind":"log","member":1,"log":{"from":5,"last":6,"runs":[{"first":5,"term":2},{"first":7,"term":3}]}}`, "do not ascend"},
		{`{"step":1,"at":1000000,"kind":"log","member":1,"log":{"from":5,"last":5,"runs":[{"first":5,"term":2}],"words":["a","b"]}}`, "words for 2 entries"},
		{`{"step":0,"at":1000000,"kind":"note"}`, "follows step 1"},
		{`{"step":1,"at":0,"kind":"note"}`, "follows step 1"},
		{strings.Repeat("x", trace.MaxLineBytes+1), "longer than"},
	} {
		events, _, err := decode(good[0] + good[1] + c.line + "\n" + strings.Join(good[2:], ""))
		damage := new(trace.DamagedError)
		if !errors.As(err, &damage) || damage.Line != 3 || !strings.Contains(err.Error(), c.says) || len(events) != 1 {
			t.Errorf("%.60q: %d events, %v; want line 3 and %q", c.line, len(events), err, c.says)
		}
	}
	if _, _, err := decode(encoded(t) + good[1]); err == nil || !strings.Contains(err.Error(), "something follows its end") {
		t.Errorf("an event after the end: %v", err)
	}
}

type fullWriter struct{ room int }

func (f *fullWriter) Write(p []byte) (int, error) {
	if f.room -= len(p); f.room < 0 {
		return 0, errors.New("no space left")
	}
	return len(p), nil
}

func TestWriterReportsItsFirstErrorAtClose(t *testing.T) {
	w := trace.NewWriter(&fullWriter{room: 100_000})
	w.Begin(header)
	for range 10_000 {
		w.Record(all[4])
	}
	if err := w.Close(); err == nil || !strings.Contains(err.Error(), "write a trace: no space left") {
		t.Errorf("%v", err)
	}
}
