package persistence

import (
	"testing"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence/vfs"
	"pgregory.net/rapid"
)

// TestLogMatchesModel runs random sequences of appends, conflicts, group commits, votes, idle
// moments, spares, bases, restarts and torn writes on a log and its model. A Reader stays open as
// long as the log.
func TestLogMatchesModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := &logProperty{fs: vfs.NewMem(), model: &logModel{}}
		p.options = testOptions(p.fs)
		p.options.FirstSegmentBytes = 1 << rapid.IntRange(12, 15).Draw(t, "first segment, log 2")
		p.open(t, p.fs, p.model)
		p.reader, p.readerOf = p.log.Reader(), p.log
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				got := p.log.Stats()
				if got.LastIndex != p.model.last() || got.FirstIndex != p.model.base+1 {
					t.Fatalf("the log holds [%d, %d], not %v", got.FirstIndex, got.LastIndex, p.model)
				}
			},
			"append": func(t *rapid.T) {
				for range rapid.IntRange(1, 3).Draw(t, "adds") {
					p.add(t, p.model)
				}
				check(t, p.log.Commit())
			},
			"idle":  func(t *rapid.T) { check(t, p.log.Idle()) },
			"spare": func(t *rapid.T) { check(t, errorOf(p.log.PrepareSpare())) },
			"base":  p.rebase,
			"read":  p.read,
			"reopen": func(t *rapid.T) {
				check(t, p.log.Close())
				p.open(t, p.fs, p.model)
			},
			"power cut": func(t *rapid.T) {
				after := p.fs.CrashClone(vfs.LoseUnsynced)
				p.fs.Freeze()
				p.open(t, after, p.model)
			},
			"power cut in a write": p.cutPowerInWrite,
		})
	})
}

func check(t *rapid.T, err error) {
	if err != nil {
		t.Fatal(err)
	}
}

func errorOf[T any](_ T, err error) error { return err }

// logProperty is a log with its model and a Reader.
type logProperty struct {
	fs       *vfs.MemFS
	options  Options
	log      *Log
	model    *logModel
	reader   *Reader
	readerOf *Log
}

// open opens the log on a disk. It must equal one of the models, which becomes the present one.
func (p *logProperty) open(t *rapid.T, disk *vfs.MemFS, models ...*logModel) {
	p.options.FS = disk
	l, r, err := Open(p.options)
	if err != nil {
		t.Fatalf("open: %v; it should hold %v", err, models)
	}
	p.fs, p.log = disk, l
	var differences []string
	for _, p.model = range models {
		d := p.model.diff(r, l)
		if d == "" {
			return
		}
		differences = append(differences, d)
	}
	t.Fatalf("found %q; it should hold %v", differences, models)
}

// add adds one change to the log and a model.
func (p *logProperty) add(t *rapid.T, to *logModel) {
	if rapid.Bool().Draw(t, "new term") {
		to.hard.term++
		to.hard.vote = rapid.Uint64Range(0, 3).Draw(t, "vote")
	}
	to.hard.term = max(to.hard.term, 1)
	var from uint64
	var e *messages.Entries
	if floor := max(to.base, to.hard.commit); to.last() > floor && rapid.IntRange(0, 3).Draw(t, "conflict") == 0 {
		from = rapid.Uint64Range(floor+1, to.last()).Draw(t, "from")
	}
	if n := rapid.IntRange(0, 5).Draw(t, "entries"); n > 0 || from != 0 {
		e = to.append(from, max(n, 1), rapid.IntRange(0, 1500).Draw(t, "size"))
	}
	if rapid.Bool().Draw(t, "commit moves") {
		to.hard.commit = rapid.Uint64Range(to.hard.commit, to.last()).Draw(t, "commit")
	}
	check(t, p.log.Add(from, e, to.hardStateMessage()))
}

func (p *logProperty) rebase(t *rapid.T) {
	m := p.model
	if m.hard.commit <= m.base {
		t.Skip("nothing is committed after the base")
	}
	index := rapid.Uint64Range(m.base+1, m.hard.commit).Draw(t, "base")
	m.rebase(index, m.terms[index-m.base-1])
	check(t, p.log.rebase(index, m.baseTerm, nil))
}

func (p *logProperty) read(t *rapid.T) {
	if p.readerOf != p.log {
		p.reader.Close()
		p.reader, p.readerOf = p.log.Reader(), p.log
	}
	if d := p.model.diffReader(p.reader); d != "" {
		t.Fatalf("read %s; it should hold %v", d, p.model)
	}
}

// cutPowerInWrite cuts the power after a random disk operation of a commit.
func (p *logProperty) cutPowerInWrite(t *rapid.T) {
	after := p.model.clone()
	p.add(t, after)
	at := rapid.IntRange(1, 12).Draw(t, "operation")
	var disk *vfs.MemFS
	p.fs.Observe(func(op vfs.Op) {
		if at--; at == 0 {
			disk = p.fs.CrashClone(func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "survives") })
		}
	})
	err := p.log.Commit()
	p.fs.Observe(nil)
	check(t, err)
	if disk == nil {
		p.model = after
		return
	}
	p.open(t, disk, p.model, after)
}
