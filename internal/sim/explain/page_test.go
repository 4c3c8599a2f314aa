package explain_test

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/troupe-raft/troupe/internal/sim/explain"
	"github.com/troupe-raft/troupe/internal/sim/scenario"
	"github.com/troupe-raft/troupe/internal/sim/trace"
	"github.com/troupe-raft/troupe/internal/sim/world"
)

// figure8 returns the run of Figure 8 of the paper: five nodes, several leaders, logs that diverge
// and are repaired.
func figure8(t *testing.T) *trace.Memory {
	t.Helper()
	return runScenario(t, "figure-8")
}

func runScenario(t *testing.T, name string) *trace.Memory {
	t.Helper()
	scenario, err := scenario.Find(name)
	if err != nil {
		t.Fatal(err)
	}
	memory := &trace.Memory{}
	if r := scenario.Run(world.Options{Seed: 3, Recorder: memory}); r.Failure != nil {
		t.Fatalf("%+v", r.Failure)
	}
	return memory
}

func encode(t *testing.T, h trace.Header, events []*trace.Event) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	w := trace.NewWriter(&b)
	w.Begin(h)
	for _, e := range events {
		w.Record(e)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

// write writes the page and returns its file.
func write(t *testing.T, h trace.Header, events []*trace.Event, o explain.Options) string {
	t.Helper()
	var page bytes.Buffer
	if err := explain.HTML(&page, encode(t, h, events), o); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "run.html")
	if err := os.WriteFile(file, page.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// shownCard is what the page shows of a node.
type shownCard struct {
	Node, Term, Commit uint64
	Role               string
	Cells              []shownCell
}

type shownCell struct {
	Index, Term uint64
	Text        string
	Committed   bool
}

const readCards = `[...document.querySelectorAll(".card")].map((c) => ({
	Node: Number(c.dataset.node), Term: Number(c.dataset.term), Commit: Number(c.dataset.commit), Role: c.dataset.role,
	Cells: [...c.querySelectorAll(".cell")].map((e) => ({
		Index: Number(e.dataset.index), Term: Number(e.dataset.term), Text: e.textContent, Committed: e.classList.contains("committed"),
	})),
}))`

// What the page shows at any moment is what the trace has up to that step, computed independently.
func TestPageShowsEachMoment(t *testing.T) {
	b := openChromium(t)
	run := figure8(t)
	b.open(write(t, run.Header, run.Events, explain.Options{}))
	b.size(1280, 800)
	var moments int
	b.eval(`Number(document.getElementById("slider").max)`, &moments)
	if moments < 100 {
		t.Fatalf("the page has %d moments", moments)
	}
	leaders := map[uint64]bool{}
	for i := 1; i <= moments; i += 7 {
		var step int
		b.eval(fmt.Sprintf(`(location.hash = "moment=%d", new Promise((done) => setTimeout(() => done(Number(/step (\d+)/.exec(document.getElementById("clock").textContent)[1])))))`, i), &step)
		var cards []shownCard
		b.eval(readCards, &cards)
		cluster := explain.NewCluster(run.Header.Nodes)
		for _, e := range run.Events {
			if e.Step <= step {
				cluster.Apply(e)
			}
		}
		if len(cards) != len(cluster.Members) {
			t.Fatalf("the page shows %d nodes of %d", len(cards), len(cluster.Members))
		}
		for k, card := range cards {
			compareCard(t, i, step, card, &cluster.Members[k])
			if card.Role == "leader" {
				leaders[card.Node] = true
			}
		}
	}
	if len(leaders) < 2 {
		t.Errorf("the page showed these leaders: %v", leaders)
	}
	b.mustHaveNoProblems()
}

func compareCard(t *testing.T, moment, step int, card shownCard, m *explain.Member) {
	t.Helper()
	role := m.State.Role
	switch {
	case !m.Up:
		role = "down"
	case role == "":
		role = "recovering"
	}
	if card.Node != m.ID || card.Term != m.State.Term || card.Role != role || card.Commit != m.State.Commit {
		t.Fatalf("moment %d, step %d: the page shows %+v; node %d is %s, %+v", moment, step, card, m.ID, role, m.State)
	}
	if m.Last > 0 && len(card.Cells) == 0 {
		t.Fatalf("moment %d, step %d: the page shows no log of node %d, which is %+v", moment, step, m.ID, m)
	}
	for _, cell := range card.Cells {
		if cell.Index > m.Last || m.TermAt(cell.Index) != cell.Term || cell.Text != fmt.Sprint(cell.Term) ||
			cell.Committed != (cell.Index <= m.State.Commit) {
			t.Fatalf("moment %d, step %d: the page shows entry %+v; node %d is %+v", moment, step, cell, m.ID, m)
		}
	}
	if n := len(card.Cells); n > 0 && card.Cells[n-1].Index != m.Last {
		t.Fatalf("moment %d: the page ends the log of node %d with %d; it has %d entries", moment, m.ID, card.Cells[n-1].Index, m.Last)
	}
}

// lanesAndArrows returns the positions of lanes and arrows on the screen.
const lanesAndArrows = `(() => {
	const lanes = {};
	for (const l of document.querySelectorAll("line.lane")) lanes[l.dataset.node] = l.getBoundingClientRect().x + l.getBoundingClientRect().width / 2;
	const arrows = [...document.querySelectorAll("g.message")].map((g) => {
		const [x1, , x2] = g.querySelector("path.arrow").getAttribute("d").match(/-?[\d.]+/g).map(Number);
		return { From: g.dataset.from, To: g.dataset.to, X1: x1, X2: x2, Lost: g.classList.contains("lost"), Label: g.querySelector(".label")?.textContent || "",
			Width: g.querySelector("path.arrow").getBoundingClientRect().width, Head: !!g.querySelector("path.head"), Cross: !!g.querySelector(".cross") };
	});
	return { Lanes: lanes, Arrows: arrows, Words: document.getElementById("diagram").textContent };
})()`

func TestPageDrawsLanesAndArrows(t *testing.T) {
	b := openChromium(t)
	run := figure8(t)
	b.open(write(t, run.Header, run.Events, explain.Options{}))
	b.size(1280, 800)
	labels, lost := map[string]bool{}, 0
	var words strings.Builder
	for i := 1; i < 500; i += 25 {
		b.eval(fmt.Sprintf(`location.hash = "moment=%d"`, i), nil)
		b.settle()
		var drawn struct {
			Lanes  map[string]float64
			Arrows []struct {
				From, To, Label   string
				X1, X2, Width     float64
				Lost, Head, Cross bool
			}
			Words string
		}
		b.eval(lanesAndArrows, &drawn)
		words.WriteString(drawn.Words)
		if len(drawn.Lanes) != 5 {
			t.Fatalf("moment %d: lanes are drawn of %d nodes", i, len(drawn.Lanes))
		}
		for _, a := range drawn.Arrows {
			from, to := drawn.Lanes[a.From], drawn.Lanes[a.To]
			if abs(a.X1-from) > 10 || a.Width < 20 || !a.Lost && abs(a.X2-to) > 10 || (a.X2 > a.X1) != (to > from) {
				t.Fatalf("moment %d: %+v is not drawn from %v to %v", i, a, from, to)
			}
			if a.Lost != a.Cross || a.Lost && a.Head {
				t.Fatalf("moment %d: %+v", i, a)
			}
			if a.Lost {
				lost++
			}
			labels[strings.TrimSuffix(a.Label, " lost")] = true
		}
	}
	all := strings.Join(slices.Collect(maps.Keys(labels)), "\n") + "\n"
	for _, want := range []string{`PreVote\? t\d+`, `Vote\? t\d+`, `Vote ✓ t\d+`, `Append`, `Append \d+/\d+`, `Append ✓ \d+`} {
		if !regexp.MustCompile(`(?m)^` + want + `$`).MatchString(all) {
			t.Errorf("no arrow is labelled %q: %q", want, all)
		}
	}
	if lost == 0 {
		t.Errorf("no lost message is drawn")
	}
	for _, want := range []string{"★ leader", "◆ candidate", "killed", "waits for"} {
		if !strings.Contains(words.String(), want) {
			t.Errorf("the diagram never has %q", want)
		}
	}
	b.mustHaveNoProblems()
}

func abs(x float64) float64 { return max(x, -x) }

func TestPageKeysAndButtons(t *testing.T) {
	b := openChromium(t)
	run := figure8(t)
	b.open(write(t, run.Header, run.Events, explain.Options{}))
	b.size(1280, 800)
	value := func() (v int) {
		b.eval(`Number(document.getElementById("slider").value)`, &v)
		return v
	}
	cards := func() (all []shownCard) {
		b.eval(readCards, &all)
		return all
	}
	b.eval(`document.getElementById("slider").focus()`, nil)
	b.press("Home", 36)
	if at := value(); at != 0 {
		t.Fatalf("Home leads to moment %d", at)
	}
	empty := cards()
	b.press("ArrowRight", 39)
	b.press("ArrowRight", 39)
	b.press("ArrowLeft", 37)
	b.press("PageDown", 34)
	if at := value(); at != 11 {
		t.Fatalf("the keys lead to moment %d", at)
	}
	b.click("#next")
	if at := value(); at != 12 {
		t.Fatalf("the button leads to moment %d", at)
	}
	b.click("#turn")
	if at := value(); at <= 12 {
		t.Fatalf("the next notable event is moment %d", at)
	}
	b.press("End", 35)
	full := cards()
	if len(empty[0].Cells) != 0 || len(full[0].Cells) == 0 {
		t.Fatalf("the slider does not change the logs: %+v, then %+v", empty[0], full[0])
	}
	for _, card := range full[1:] {
		if !slices.Equal(card.Cells, full[0].Cells) {
			t.Fatalf("the run ends with equal logs; the page shows %+v and %+v", full[0], card)
		}
	}
	// A message shows its fields when it is pointed at, and the list leads to its other end.
	b.eval(`location.hash = "moment=" + (JSON.parse(document.getElementById("trace").textContent).arrows.find((a) => a.n === "AppendEntries" && a.s >= 0 && a.e > a.s && !a.x).s + 1)`, nil)
	b.settle()
	before := value()
	b.click("#now .go")
	if value() <= before {
		t.Fatalf("the button of a message sent at moment %d leads to %d", before, value())
	}
	var said string
	b.eval(`document.getElementById("now").textContent`, &said)
	if !strings.Contains(said, "AppendEntries") || !strings.Contains(said, "arrives") || !strings.Contains(said, "prev ") {
		t.Fatalf("the page shows of a message that arrives: %q", said)
	}
	var at struct{ X, Y float64 }
	b.eval(`(() => {
		const view = document.getElementById("scroll").getBoundingClientRect(), middle = (r) => ({ X: r.x + r.width / 2, Y: r.y + r.height / 2 });
		return [...document.querySelectorAll("g.message.append .label")].map((e) => middle(e.getBoundingClientRect()))
			.find((at) => at.Y > view.top && at.Y < view.bottom && document.elementFromPoint(at.X, at.Y)?.closest("g.message.append"));
	})()`, &at)
	b.call("Input.dispatchMouseEvent", map[string]any{"type": "mouseMoved", "x": at.X, "y": at.Y}, nil)
	b.settle()
	b.eval(`document.getElementById("message").hidden ? "" : document.getElementById("message-fields").textContent`, &said)
	if !strings.Contains(said, "Append") || !strings.Contains(said, "from, to") || !strings.Contains(said, "term ") {
		t.Fatalf("the page shows of a message that is pointed at: %q", said)
	}
	b.mustHaveNoProblems()
}

func TestPageFitsAllWindowSizes(t *testing.T) {
	b := openChromium(t)
	run := figure8(t)
	b.open(write(t, run.Header, run.Events, explain.Options{}))
	b.eval(`location.hash = "moment=330"`, nil)
	for _, theme := range []string{"light", "dark"} {
		b.eval(`document.documentElement.dataset.theme = "`+theme+`"`, nil)
		for _, size := range [][2]int{{1280, 800}, {1920, 1080}, {360, 740}} {
			b.size(size[0], size[1])
			var is struct {
				Wide, Diagram, Stage float64
				Outside              []string
			}
			b.eval(`({ Wide: document.documentElement.scrollWidth, Diagram: document.getElementById("scroll").clientHeight, Stage: document.querySelectorAll("g.message").length,
				Outside: [...document.querySelectorAll(".card, .cell, button, #slider, #clock")].filter((e) => e.getBoundingClientRect().right > innerWidth + 1).map((e) => e.outerHTML) })`, &is)
			if int(is.Wide) > size[0] || len(is.Outside) > 0 || is.Diagram < 250 || is.Stage == 0 {
				t.Errorf("%v: the page is %v wide, the diagram %v high with %v messages; outside are %v", size, is.Wide, is.Diagram, is.Stage, is.Outside)
			}
			b.screenshot(fmt.Sprintf("figure-8-%s-%d.png", theme, size[0]))
		}
		var pale []string
		b.eval(lowContrastTexts, &pale)
		if len(pale) > 0 {
			t.Errorf("%s: texts with a contrast below 4.5: %q", theme, pale)
		}
	}
	b.mustHaveNoProblems()
}

// lowContrastTexts returns the texts whose contrast with their background is too low (WCAG 2.1,
// 1.4.3).
const lowContrastTexts = `(() => {
	const rgb = (c) => c.match(/[\d.]+/g).map(Number);
	const light = (c) => { const [r, g, b] = rgb(c).map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
	const ground = (e) => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor; if (!/, 0\)$/.test(c)) return c; } return "rgb(255, 255, 255)"; };
	const pale = new Set();
	for (const e of document.querySelectorAll("h1, h2, h3 span, .glyph, p, li, dt, dd, summary, button, output, #diagram text, #diagram tspan")) {
		if (!e.textContent.trim()) continue;
		const style = getComputedStyle(e), ink = light(e.closest("svg") ? style.fill : style.color), paper = light(ground(e));
		if ((Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05) < 4.5) pale.add(e.tagName + "." + e.getAttribute("class") + " " + e.textContent.slice(0, 20));
	}
	for (const e of document.querySelectorAll("button, input")) if (!e.textContent.trim() && !e.getAttribute("aria-label")) pale.add("without a name: " + e.outerHTML);
	return [...pale];
})()`
