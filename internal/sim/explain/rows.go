package explain

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/troupe-raft/troupe/internal/sim/trace"
)

// row is a line of the listing, a rune a column of the terminal.
type row []rune

func (r row) put(x int, s string) {
	for _, c := range clean(s) {
		if x >= 0 && x < len(r) {
			r[x] = c
		}
		x++
	}
}

// lane is the column of a member's line.
func (t *table) lane(id uint64) int { return int(id-1) * t.column }

func (t *table) lanes() row {
	r := row(strings.Repeat(" ", len(t.cluster.Members)*t.column))
	for i := range t.cluster.Members {
		m := &t.cluster.Members[i]
		r[t.lane(m.ID)] = laneOf(m)
	}
	return r
}

func laneOf(m *Member) rune {
	switch {
	case !m.Up:
		return '·'
	case m.State.Role == "leader":
		return '┃'
	case m.State.Role == "candidate" || m.State.Role == "preCandidate":
		return '╎'
	}
	return '│'
}

// write writes a row: the time, the lanes, and the wrapped margin.
func (t *table) write(at time.Duration, r row, margin string, failed bool) {
	mark := ' '
	if failed {
		mark = '»'
	}
	lines := wrap(clean(margin), t.margin)
	fmt.Fprintf(t.out, "%c%10.6f %s\n", mark, at.Seconds(), strings.TrimRight(string(r)+lines[0], " "))
	t.rows++
	for _, line := range lines[1:] {
		fmt.Fprintf(t.out, "%*s%s\n", timeWidth, "", strings.TrimRight(string(t.lanes())+line, " "))
		t.rows++
	}
}

// wrap breaks a text at spaces into lines of at most width runes; it returns at least one line.
func wrap(s string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(s) {
		for len([]rune(word)) > width {
			if line != "" {
				lines, line = append(lines, line), ""
			}
			runes := []rune(word)
			lines, word = append(lines, string(runes[:width])), string(runes[width:])
		}
		switch {
		case line == "":
			line = word
		case len([]rune(line))+1+len([]rune(word)) <= width:
			line += " " + word
		default:
			lines, line = append(lines, line), word
		}
	}
	return append(lines, line)
}

// arrow draws a message from lane to lane.
func (t *table) arrow(e *trace.Event, latency time.Duration, again bool) {
	r := t.lanes()
	from, to := t.lane(e.Member), t.lane(e.Peer)
	low, high := min(from, to), max(from, to)
	for x := low + 1; x < high; x++ {
		if r[x] == ' ' {
			r[x] = '─'
		} else {
			r[x] = '┼'
		}
	}
	r[from] = '●'
	if from < to {
		r[to-1] = '▶'
	} else {
		r[to+1] = '◀'
	}
	if e.Kind == trace.Lost {
		t.cutArrow(r, from, to)
	}
	// The label is next to the sender, so that it never hides the end of the arrow.
	words := shortenLabel([]rune(label(e)), t.column-4)
	if from < to {
		r.put(from+2, string(words))
	} else {
		r.put(from-1-len(words), string(words))
	}
	margin := e.Detail
	switch {
	case e.Kind == trace.Lost:
		margin = "lost: " + margin
	case again:
		margin = "again: " + margin
	}
	if latency > 0 {
		margin += " · " + shortDuration(latency)
	}
	t.write(e.At, r, margin, e.Step == t.failed)
}

// shortenLabel shortens a label to a width. The sign at its end, which shows the response, stays.
func shortenLabel(words []rune, width int) []rune {
	last := len(words) - 1
	if last < width {
		return words
	}
	if words[last] == '✓' || words[last] == '✗' {
		return append(slices.Clone(words[:width-2]), words[last-1:]...)
	}
	return words[:width]
}

// cutArrow ends an arrow in the middle of its last column.
func (t *table) cutArrow(r row, from, to int) {
	step := 1
	if from > to {
		step = -1
	}
	for x := to - step*2; x != to; x += step {
		r[x] = ' '
	}
	r[to-step*2] = '✕'
}

// shortDuration formats a duration with three digits.
func shortDuration(d time.Duration) string {
	switch {
	case d >= 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= 10*time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	case d >= time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	}
	return d.Round(time.Microsecond).String()
}

// pendingRow collects what happens to a member in a step.
type pendingRow struct {
	event  *trace.Event
	words  []string
	margin string
}

// cuts reports whether an event cuts or restores another connection in the same step: they share a
// row.
func (p *pendingRow) cuts(e *trace.Event) bool {
	return (e.Kind == trace.CutOff || e.Kind == trace.Healed) && p.event.Kind == e.Kind && p.event.Step == e.Step
}

// hold adds to the pending row of a member. Of two strips of its log the later one replaces the
// other.
func (t *table) hold(e *trace.Event, words []string, margin string) {
	p := t.pending
	if p == nil || e.Member == 0 || margin != "" && p.margin != "" {
		t.flush()
		p = &pendingRow{event: e}
		t.pending = p
	}
	if margin != "" {
		p.margin = margin
	}
	for _, w := range words {
		if isLogStrip(w) {
			p.words = slices.DeleteFunc(p.words, isLogStrip)
		}
		if w != "" {
			p.words = append(p.words, w)
		}
	}
}

func isLogStrip(s string) bool { return strings.Trim(s, "[]…0123456789") == "" }

// flush writes the pending row, in rows of as many words as fit.
func (t *table) flush() {
	p := t.pending
	t.pending = nil
	if p == nil || len(p.words) == 0 && p.margin == "" {
		return
	}
	failed, width := p.event.Step == t.failed, t.column-3
	if p.event.Member == 0 || len(p.words) == 0 {
		t.write(p.event.At, t.lanes(), p.margin, failed)
		return
	}
	for i, margin := 0, p.margin; i < len(p.words); margin = "" {
		line := p.words[i]
		for i++; i < len(p.words) && len([]rune(line))+2+len([]rune(p.words[i])) <= width; i++ {
			line += ", " + p.words[i]
		}
		r := t.lanes()
		r.put(t.lane(p.event.Member)+2, clip(line, width))
		t.write(p.event.At, r, margin, failed)
	}
}

func clip(s string, width int) string {
	if runes := []rune(s); len(runes) > width {
		return string(runes[:width-1]) + "…"
	}
	return s
}

// words describes an event for the column of its member, and for the margin.
func (t *table) words(e *trace.Event, was *Member) (words []string, margin string) {
	now := t.cluster.at(e.Member)
	switch e.Kind {
	case trace.Start:
		return []string{fmt.Sprintf("▲ run %d", e.Index)}, e.Detail
	case trace.Kill:
		if !was.Up {
			return nil, ""
		}
		return []string{"✖ killed"}, e.Detail
	case trace.Stop:
		return []string{"✖ stops"}, e.Detail
	case trace.StateChanged:
		return stateWords(was, &now, t.column-3), ""
	case trace.LogChanged:
		if e.Log.From <= was.Last {
			margin = fmt.Sprintf("log of %d truncated from %d on", e.Member, e.Log.From)
		}
		if len(e.Log.Texts) > 0 {
			margin = strings.TrimLeft(margin+"; "+appendedText(e.Log), "; ")
		}
		return []string{logStrip(&now, t.column-3)}, margin
	case trace.Applied:
		if t.options.asksForKind(e.Kind) { // the logs show enough otherwise
			words = []string{fmt.Sprintf("applied %d", e.Index)}
		}
		return words, ""
	case trace.Handled:
		word := e.Actor + ": " + e.Name
		if len([]rune(word)) > t.column-3 { // it is shortened there
			return []string{word}, strings.TrimRight(e.Name+": "+e.Detail, ": ")
		}
		return []string{word}, e.Detail
	case trace.Panicked:
		return []string{"✖ " + e.Actor}, fmt.Sprintf("%s panics at %s", e.Actor, e.Name)
	}
	return nil, t.marginText(e)
}

// appendedText describes the appended entries; of many the first and the last.
func appendedText(l *trace.Log) string {
	last := len(l.Texts) - 1
	text := fmt.Sprintf("%d: %s", l.From, l.Texts[0])
	if last > 0 {
		text += fmt.Sprintf(" … %d: %s", l.From+uint64(last), l.Texts[last])
	}
	return text
}

// marginText describes an event that changes no Node.
func (t *table) marginText(e *trace.Event) string {
	switch e.Kind {
	case trace.Sent, trace.Duplicated: // drawn where they arrive
		if t.options.asksForKind(e.Kind) {
			return strings.TrimRight(fmt.Sprintf("%d to %d %s: %s %s", e.Member, e.Peer, map[trace.Kind]string{trace.Sent: "sent", trace.Duplicated: "doubled"}[e.Kind], label(e), e.Detail), " ")
		}
	case trace.FaultInjected:
		text := "⚡ " + e.Name
		if e.Member != 0 {
			text += fmt.Sprintf(" %d", e.Member)
		}
		if e.Peer != 0 {
			text += fmt.Sprintf("–%d", e.Peer)
		}
		if e.Until > e.At {
			text += " until " + fmt.Sprintf("%.3fs", e.Until.Seconds())
		}
		return strings.TrimRight(text+" "+e.Detail, " ")
	case trace.CutOff:
		return fmt.Sprintf("✂ cut %d→%d", e.Member, e.Peer)
	case trace.Healed:
		return fmt.Sprintf("mended %d→%d", e.Member, e.Peer)
	case trace.Called:
		return fmt.Sprintf("%s at %d: #%d %s %s", e.Actor, e.Member, e.ID, e.Name, e.Detail)
	case trace.Returned:
		return fmt.Sprintf("%s at %d: #%d %s", e.Actor, e.Member, e.ID, e.Detail)
	case trace.Note:
		return "» " + e.Detail
	case trace.Violated:
		text := "✗ " + strings.ToUpper(e.Name) + ": " + e.Detail
		if t.listing {
			text = clip(strings.Join(strings.Fields(text), " "), 3*t.margin)
		}
		return text
	}
	return ""
}

// stateWords describes how a Node has changed.
func stateWords(was, now *Member, width int) (words []string) {
	before, after := was.State, now.State
	if before.Role != after.Role || before.Term != after.Term {
		words = append(words, now.summary(width))
	}
	if after.Vote != before.Vote && after.Vote != 0 {
		words = append(words, fmt.Sprintf("votes %d", after.Vote))
	}
	if after.Leader != before.Leader && after.Leader != 0 && after.Leader != now.ID {
		words = append(words, fmt.Sprintf("follows %d", after.Leader))
	}
	if after.Commit != before.Commit {
		words = append(words, logStrip(now, width))
	}
	return words
}

// logStrip shows a log as digits: the last digit of each term, the committed part in brackets; of a
// long log the end.
func logStrip(m *Member, width int) string {
	commit, from := min(m.State.Commit, m.Last), uint64(1)
	if room := uint64(width - 3); m.Last > room {
		from = m.Last - room + 1
	}
	var b strings.Builder
	switch {
	case from > 1:
		b.WriteRune('…')
	case commit > 0:
		b.WriteRune('[')
	}
	for i := from; i <= m.Last; i++ {
		b.WriteByte(byte('0' + m.TermAt(i)%10))
		if i == commit {
			b.WriteRune(']')
		}
	}
	return b.String()
}
