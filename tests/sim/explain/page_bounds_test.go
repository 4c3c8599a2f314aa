package explain_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/troupe-raft/troupe/tests/sim"
	"github.com/troupe-raft/troupe/tests/sim/explain"
	"github.com/troupe-raft/troupe/tests/sim/trace"
)

func TestThePageShowsForeignWordsAsWords(t *testing.T) {
	b := openChromium(t)
	const evil = `</script><script>document.title="broken in"</script><img src=x onerror="document.title='broken in'">&lt;"'` + "\u2028`${1}"
	h := trace.Header{Nodes: 2, Profile: evil, Scenario: evil}
	events := []*trace.Event{
		{Step: 1, Kind: trace.Start, Member: 1, Detail: evil},
		{Step: 2, Kind: trace.Became, Member: 1, State: &trace.State{Role: evil, Term: 1}},
		{Step: 3, Kind: trace.Sent, Member: 1, Peer: 2, ID: 1, Name: evil, Detail: evil},
		{Step: 4, Kind: trace.Lost, Member: 1, Peer: 2, ID: 1, Name: evil, Detail: evil},
		{Step: 5, Kind: trace.Noted, Detail: evil},
		{Step: 6, Kind: trace.Called, Member: 1, ID: 1, Actor: evil, Name: evil, Detail: evil},
		{Step: 7, Kind: trace.Struck, Name: evil, Detail: evil},
		{Step: 8, Kind: trace.Violated, Name: evil, Detail: evil},
	}
	b.open(write(t, h, events, explain.Options{}))
	b.size(1280, 800)
	for i := range events {
		b.eval(fmt.Sprintf(`location.hash = "moment=%d"`, i+1), nil)
		b.settle()
	}
	var is struct {
		Title, Said   string
		Images, Nodes int
	}
	b.eval(`({ Title: document.title, Said: document.getElementById("now").textContent, Images: document.images.length, Nodes: document.querySelectorAll(".card").length })`, &is)
	if strings.HasPrefix(is.Title, "broken in") || is.Images != 0 || is.Nodes != 2 || !strings.Contains(is.Said, evil) {
		t.Errorf("the page is %+v", is)
	}
	b.mustNotComplain()
}

func TestThePageOfAFailureOpensWhereItFailed(t *testing.T) {
	b := openChromium(t)
	run := figure8(t)
	last := run.Events[len(run.Events)-1]
	events := append(slices.Clip(run.Events), &trace.Event{Step: last.Step, At: last.At, Kind: trace.Violated, Name: "election safety", Detail: "members 1 and 2 both lead"})
	b.open(write(t, run.Header, events, explain.Options{Limit: 300}))
	var is struct {
		Said, Window string
		Moments, At  int
	}
	b.eval(`({ Said: document.getElementById("now").textContent, Window: document.getElementById("window").textContent,
		Moments: Number(document.getElementById("slider").max), At: Number(document.getElementById("slider").value) })`, &is)
	if !strings.Contains(is.Said, "election safety: members 1 and 2 both lead") || is.At != is.Moments {
		t.Errorf("the page opens at moment %d of %d with %q", is.At, is.Moments, is.Said)
	}
	if !strings.Contains(is.Window, "Shown are events") || is.Moments > 300 {
		t.Errorf("the page holds %d moments and says %q", is.Moments, is.Window)
	}
	b.mustNotComplain()
}

func TestThePageOfALongRunIsBounded(t *testing.T) {
	var page bytes.Buffer
	memory := &trace.Memory{}
	sim.Run(sim.Options{Seed: 1, Nodes: 5, Steps: 60_000, Profile: sim.Profiles[len(sim.Profiles)-1], Recorder: memory})
	if len(memory.Events) < 50_000 {
		t.Fatalf("the run has %d events", len(memory.Events))
	}
	if err := explain.HTML(&page, encode(t, memory.Header, memory.Events), explain.Options{From: time.Second}); err != nil {
		t.Fatal(err)
	}
	if page.Len() > 2<<20 {
		t.Errorf("the page has %d bytes", page.Len())
	}
	if want := fmt.Sprintf("Shown are events 1–%d of", explain.DefaultLimit); !strings.Contains(page.String(), want) {
		t.Errorf("the page does not say %q", want)
	}
}
