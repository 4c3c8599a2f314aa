package explain_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/troupe-raft/troupe/internal/sim/explain"
	"github.com/troupe-raft/troupe/internal/sim/fault"
	"github.com/troupe-raft/troupe/internal/sim/trace"
	"github.com/troupe-raft/troupe/internal/sim/world"
)

func TestPageEscapesForeignText(t *testing.T) {
	b := openChromium(t)
	const evil = `</script><script>document.title="broken in"</script><img src=x onerror="document.title='broken in'">&lt;"'` + "\u2028`${1}"
	h := trace.Header{Nodes: 2, Profile: evil, Scenario: evil}
	events := []*trace.Event{
		{Step: 1, Kind: trace.Start, Member: 1, Detail: evil},
		{Step: 2, Kind: trace.StateChanged, Member: 1, State: &trace.State{Role: evil, Term: 1}},
		{Step: 3, Kind: trace.Sent, Member: 1, Peer: 2, ID: 1, Name: evil, Detail: evil},
		{Step: 4, Kind: trace.Lost, Member: 1, Peer: 2, ID: 1, Name: evil, Detail: evil},
		{Step: 5, Kind: trace.Note, Detail: evil},
		{Step: 6, Kind: trace.Called, Member: 1, ID: 1, Actor: evil, Name: evil, Detail: evil},
		{Step: 7, Kind: trace.FaultInjected, Name: evil, Detail: evil},
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
	b.mustHaveNoProblems()
}

// violationRow returns where the violation is, what is highlighted, and what is shaded, in the
// window.
const violationRow = `(() => {
	const box = (e) => { const r = e.getBoundingClientRect(); return { Top: r.top, Bottom: r.bottom, Left: r.left, Right: r.right }; };
	const texts = [...document.querySelectorAll("#diagram .band.violation")];
	return {
		Words: texts.map((e) => e.textContent).join(" "), Texts: texts.map(box), Rows: [...document.querySelectorAll("#diagram rect.wrong")].map(box),
		Now: [...document.querySelectorAll("#diagram rect.now")].map(box), Veil: [...document.querySelectorAll("#diagram rect.future")].map(box),
		View: box(document.getElementById("scroll")), List: box(document.getElementById("now")), Legend: box(document.getElementById("legend")), Said: document.getElementById("now").textContent, Items: document.querySelectorAll("#now li").length,
		Window: document.getElementById("window").textContent, Button: document.getElementById("wrong").textContent,
		Moments: Number(document.getElementById("slider").max), At: Number(document.getElementById("slider").value),
	};
})()`

type rectangle struct{ Top, Bottom, Left, Right float64 }

func (b rectangle) holds(o rectangle) bool {
	return o.Top >= b.Top-1 && o.Bottom <= b.Bottom+1 && o.Left >= b.Left-1 && o.Right <= b.Right+1
}

type violationPage struct {
	Words, Said, Window, Button string
	Texts, Rows, Now, Veil      []rectangle
	View, List, Legend          rectangle
	Items, Moments, At          int
}

// mustShowViolation checks that the row of the violation is highlighted, visible to its last word,
// and not shaded.
func (p *violationPage) mustShowViolation(t *testing.T, violation string) {
	t.Helper()
	one := func(text string) string { return strings.Join(strings.Fields(text), " ") }
	if !strings.Contains(one(p.Words), one(violation)) || !strings.Contains(one(p.Said), one(violation)) || p.Items != 1 || len(p.Texts) < 4 {
		t.Errorf("the diagram says %q, the list %q", p.Words, p.Said)
	}
	if len(p.Rows) != 1 || len(p.Now) != 1 || !p.Rows[0].holds(p.Now[0]) || !p.Now[0].holds(p.Rows[0]) || !p.View.holds(p.Rows[0]) {
		t.Fatalf("highlighted are %v and %v, visible is %v", p.Now, p.Rows, p.View)
	}
	if p.List.Bottom > p.Legend.Top {
		t.Errorf("the list of events ends at %v, over the legend, which begins at %v", p.List.Bottom, p.Legend.Top)
	}
	for _, text := range p.Texts {
		if !p.Rows[0].holds(text) {
			t.Errorf("the violation is at %v, its row is %v", text, p.Rows[0])
		}
		for _, veil := range p.Veil {
			if veil.Top < text.Bottom-3 && veil.Bottom > text.Top {
				t.Errorf("the violation at %v is shaded from %v on", text, veil.Top)
			}
		}
	}
}

// A step that violates an invariant does other things too, before it and after: the page opens at
// the row of the violation.
func TestPageOpensAtTheViolation(t *testing.T) {
	b := openChromium(t)
	run := figure8(t)
	last := run.Events[len(run.Events)-1]
	const detail = "members 1 and 2 both lead in term 17, with a text that is long enough to need more than one line:\n" +
		"  1 up=true leader term 17 leader 1 last (65, 2) durable 65 commit 65 applied 65; 0 calls wait, serving true\n" +
		"  2 up=true leader term 17 leader 2 last (64, 2) durable 64 commit 64 applied 64; 7 calls wait, serving true\n" +
		"  3 up=false follower term 5 leader 1 last (9, 2) durable 9 commit 9 applied 0; 0 calls wait, and this is the end"
	events := append(slices.Clip(run.Events),
		&trace.Event{Step: last.Step + 1, At: last.At, Kind: trace.StateChanged, Member: 1, State: &trace.State{Role: "leader", Term: 17, Commit: 3}},
		&trace.Event{Step: last.Step + 1, At: last.At, Kind: trace.Violated, Name: "election safety", Detail: detail},
		&trace.Event{Step: last.Step + 1, At: last.At, Kind: trace.StateChanged, Member: 2, State: &trace.State{Role: "leader", Term: 17, Commit: 3}},
		&trace.Event{Step: last.Step + 2, At: last.At + time.Second, Kind: trace.Note, Detail: "what follows"})
	b.open(write(t, run.Header, events, explain.Options{Limit: 300}))
	var is violationPage
	for _, size := range [][2]int{{1280, 800}, {390, 844}} {
		b.size(size[0], size[1])
		b.click("#first")
		b.click("#wrong")
		b.settle()
		is = violationPage{}
		b.eval(violationRow, &is)
		is.mustShowViolation(t, "election safety: "+detail)
		b.screenshot(fmt.Sprintf("broken-%d.png", size[0]))
	}
	b.eval(`location.reload()`, nil)
	b.open(write(t, run.Header, events, explain.Options{Limit: 300}))
	b.settle()
	b.eval(violationRow, &is)
	is.mustShowViolation(t, detail)
	if is.Button != "✗ violated: election safety" || is.At != is.Moments-2 {
		t.Errorf("the page opens at moment %d of %d; its button says %q", is.At, is.Moments, is.Button)
	}
	if !strings.Contains(is.Window, "Shown are events") || is.Moments > 300 {
		t.Errorf("the page holds %d moments and says %q", is.Moments, is.Window)
	}
	b.mustHaveNoProblems()
}

// The address of the page names a moment, so that it can be sent to others; an unknown one changes
// nothing.
func TestPageAddressNamesAMoment(t *testing.T) {
	b := openChromium(t)
	run := figure8(t)
	page := write(t, run.Header, run.Events, explain.Options{})
	b.open(page)
	var shown struct {
		Step, Moment, Moments int
		Hidden                bool
	}
	look := func(hash string) {
		b.eval(fmt.Sprintf(`(location.hash = %q, true)`, hash), nil)
		b.settle()
		b.eval(`({ Step: Number((/step (\d+)/.exec(document.getElementById("clock").textContent) || [0, -1])[1]), Moment: Number(document.getElementById("slider").value),
			Moments: Number(document.getElementById("slider").max), Hidden: document.getElementById("wrong").hidden })`, &shown)
	}
	step := run.Events[len(run.Events)/2].Step
	look(fmt.Sprintf("step=%d", step))
	if shown.Step != step || !shown.Hidden {
		t.Errorf("#step=%d leads to %+v", step, shown)
	}
	look("moment=77")
	if shown.Moment != 77 {
		t.Errorf("#moment=77 leads to %+v", shown)
	}
	look("moment=rain")
	if shown.Moment != 77 {
		t.Errorf("#moment=rain leads to %+v", shown)
	}
	look("moment=99999999")
	if shown.Moment != shown.Moments {
		t.Errorf("a moment behind the end leads to %+v", shown)
	}
	b.click("#back")
	var hash string
	b.eval(`location.hash`, &hash)
	if want := fmt.Sprintf("#moment=%d", shown.Moments-1); hash != want {
		t.Errorf("a moment before the last the address is %q, not %q", hash, want)
	}
	b.mustHaveNoProblems()
}

func TestPageOfALongRunIsBounded(t *testing.T) {
	var page bytes.Buffer
	memory := &trace.Memory{}
	world.Run(world.Options{Seed: 1, Nodes: 5, Steps: 60_000, Profile: fault.Profiles[len(fault.Profiles)-1], Recorder: memory})
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
