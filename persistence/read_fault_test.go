package persistence

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"

	"github.com/troupe-raft/troupe/persistence/vfs"
)

// readWholeLog reads a log up to last with a new Reader and checks each entry against the model.
func readWholeLog(t *testing.T, l *Log, m *logModel, last, maxBytes uint64) (warnings []string, err error) {
	t.Helper()
	r := l.Reader()
	defer r.Close()
	for from := uint64(1); from <= last; {
		e, _, err := r.Read(from, last, maxBytes)
		warnings = append(warnings, r.Warnings()...)
		if err != nil {
			return warnings, err
		}
		for i, data := range e.Data {
			index := from + uint64(i)
			if want := entryData(index, m.terms[index-1], m.sizes[index-1]); !bytes.Equal(data, want) {
				t.Fatalf("entry %d is returned as %q", index, data)
			}
		}
		from += uint64(len(e.Data))
	}
	return warnings, nil
}

// failNthRead returns an injector that counts read operations down and lets the nth one meet the
// error of hurt.
func failNthRead(n *int, hurt func(vfs.Op) error) func(vfs.Op) error {
	return func(op vfs.Op) error {
		if op.Kind.ReadOnly() {
			if *n--; *n == 0 {
				return hurt(op)
			}
		}
		return nil
	}
}

func TestE7TransientReadFaultIsReadAgain(t *testing.T) {
	fs := vfs.NewMem()
	l, m := newDamageTestLog(t, fs)
	random := rand.New(rand.NewPCG(5, 5))
	flips, warned := 0, 0
	for _, maxBytes := range []uint64{1, 500, 1 << 20} {
		for n, left := 1, 0; left <= 0; n++ {
			left = n
			fs.Inject(failNthRead(&left, func(op vfs.Op) error {
				if op.Kind != vfs.OpRead {
					return nil
				}
				flips++
				return &vfs.FlippedRead{Bit: random.Int64N(8 * int64(op.Length))}
			}))
			warnings, err := readWholeLog(t, l, m, m.last(), maxBytes)
			if err != nil || len(warnings) > 1 {
				t.Fatalf("read %d: %v, warnings %q", n, err, warnings)
			}
			if len(warnings) == 1 {
				if warned++; !strings.Contains(warnings[0], segmentSuffix) || !strings.Contains(warnings[0], "check the disk") {
					t.Fatalf("warning %q", warnings[0])
				}
			}
		}
	}
	if flips < 100 || warned < 20 {
		t.Fatalf("%d flips, %d of them with a warning", flips, warned)
	}
}

func TestE7PermanentReadFaultIsNeverReturned(t *testing.T) {
	fs := vfs.NewMem()
	l, m := newDamageTestLog(t, fs)
	random := rand.New(rand.NewPCG(5, 6))
	refused := 0
	for range 200 {
		bit := random.Int64N(8 * 600)
		fs.Inject(func(op vfs.Op) error {
			if op.Kind == vfs.OpRead {
				return &vfs.FlippedRead{Bit: bit}
			}
			return nil
		})
		if _, err := readWholeLog(t, l, m, m.last(), 1<<20); err != nil {
			var bad *CorruptError
			if refused++; !errors.As(err, &bad) || !strings.HasSuffix(bad.File, segmentSuffix) {
				t.Fatalf("bit %d: %v", bit, err)
			}
		}
	}
	if refused < 100 {
		t.Fatalf("only %d of 200 were detected", refused)
	}
}

func TestFailedReadNamesFileAndIsNotTheEnd(t *testing.T) {
	fs := vfs.NewMem()
	l, m := newDamageTestLog(t, fs)
	failures := 0
	for _, maxBytes := range []uint64{1, 1 << 20} {
		for n, left := 1, 0; left <= 0; n++ {
			left = n
			var failed vfs.Op
			fs.Inject(failNthRead(&left, func(op vfs.Op) error {
				failed = op
				return syscall.EIO
			}))
			_, err := readWholeLog(t, l, m, m.last(), maxBytes)
			if left > 0 {
				break
			}
			failures++
			var unread *ReadError
			if !errors.As(err, &unread) || !errors.Is(err, syscall.EIO) || unread.File != failed.Path || errors.Is(err, ErrNotInLog) || errors.Is(err, ErrCorrupt) {
				t.Fatalf("%v failed, and the Reader returned %v", failed, err)
			}
			fs.Inject(nil)
			if _, err := readWholeLog(t, l, m, m.last(), maxBytes); err != nil {
				t.Fatalf("after that: %v", err)
			}
		}
	}
	if failures < 100 {
		t.Fatalf("only %d reads failed", failures)
	}
}

// A Reader reports ErrNotInLog for entries that were compacted, so that the peer gets a snapshot. A
// segment that was removed by others is corruption.
func TestMissingSegmentIsNotCompacted(t *testing.T) {
	fs := vfs.NewMem()
	l, m := newDamageTestLog(t, fs)
	path := l.segments[1].path
	mustSucceed(t, fs.Remove(path))
	_, err := readWholeLog(t, l, m, m.last(), 1<<20)
	var bad *CorruptError
	if !errors.As(err, &bad) || bad.File != path || errors.Is(err, ErrNotInLog) {
		t.Fatalf("the Reader returned %v", err)
	}
}
