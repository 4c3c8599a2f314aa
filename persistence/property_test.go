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
		fs := vfs.NewMem()
		o := testOptions(fs)
		o.FirstSegmentBytes = 1 << rapid.IntRange(12, 15).Draw(t, "first segment, log 2")
		l, r, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		m := &logModel{}
		reader, readerOf := l.Reader(), l
		reopen := func(disk *vfs.MemFS) {
			o.FS = disk
			if l, r, err = Open(o); err != nil {
				t.Fatalf("open: %v; it should hold %v", err, m)
			}
			if d := m.diff(r, l); d != "" {
				t.Fatalf("found %s; it should hold %v", d, m)
			}
			fs = disk
		}
		// add adds one change to the log and the model.
		add := func(t *rapid.T, to *logModel) {
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
			if err := l.Add(from, e, to.hardStateMessage()); err != nil {
				t.Fatal(err)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				if got := l.Stats(); got.LastIndex != m.last() || got.FirstIndex != m.base+1 {
					t.Fatalf("the log holds [%d, %d], not %v", got.FirstIndex, got.LastIndex, m)
				}
			},
			"append": func(t *rapid.T) {
				for range rapid.IntRange(1, 3).Draw(t, "pieces") {
					add(t, m)
				}
				if err := l.Commit(); err != nil {
					t.Fatal(err)
				}
			},
			"idle": func(t *rapid.T) {
				if err := l.Idle(); err != nil {
					t.Fatal(err)
				}
			},
			"spare": func(t *rapid.T) {
				if _, err := l.PrepareSpare(); err != nil {
					t.Fatal(err)
				}
			},
			"base": func(t *rapid.T) {
				if m.hard.commit <= m.base {
					t.Skip("nothing is committed after the base")
				}
				index := rapid.Uint64Range(m.base+1, m.hard.commit).Draw(t, "base")
				m.rebase(index, m.terms[index-m.base-1])
				if err := l.rebase(index, m.baseTerm, nil); err != nil {
					t.Fatal(err)
				}
			},
			"read": func(t *rapid.T) {
				if readerOf != l {
					reader.Close()
					reader, readerOf = l.Reader(), l
				}
				if d := m.diffReader(reader); d != "" {
					t.Fatalf("read %s; it should hold %v", d, m)
				}
			},
			"reopen": func(t *rapid.T) {
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
				reopen(fs)
			},
			"power cut": func(t *rapid.T) {
				after := fs.CrashClone(vfs.LoseUnsynced)
				fs.Freeze()
				reopen(after)
			},
			"power cut in a write": func(t *rapid.T) {
				after := m.clone()
				add(t, after)
				// The power fails after any disk operation of the commit.
				at := rapid.IntRange(1, 12).Draw(t, "operation")
				var disk *vfs.MemFS
				fs.Observe(func(op vfs.Op) {
					if at--; at == 0 {
						disk = fs.CrashClone(func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "survives") })
					}
				})
				err := l.Commit()
				fs.Observe(nil)
				if err != nil {
					t.Fatal(err)
				}
				if disk == nil {
					m = after
					return
				}
				o.FS = disk
				if l, r, err = Open(o); err != nil {
					t.Fatalf("open: %v; it should hold %v or %v", err, m, after)
				}
				fs = disk
				if d := m.diff(r, l); d != "" {
					if d2 := after.diff(r, l); d2 != "" {
						t.Fatalf("found %s; and: %s; it should hold %v or %v", d, d2, m, after)
					}
					m = after
				}
			},
		})
	})
}
