package persistence

import (
	"bytes"
	"errors"
	"testing"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence/vfs"
	"github.com/troupe-raft/troupe/raft"
)

// The decoders refuse or decode any bytes; they never panic, and never allocate for sizes beyond
// the input. The fuzz tests correct the checksums first, so that inputs get past them.

func FuzzFrame(f *testing.F) {
	frame1 := frameHeader{segment: 1, offset: segmentHeaderBytes, first: 3, hard: hardState{2, 1, 1}, sequence: 9}
	f.Add(appendBatchFrame(nil, &frame1, testBatch(3, 4, 2, 30)))
	f.Add(appendFrame(nil, &frame1, kindIdle, nil))
	payload, _ := (&base{index: 5, term: 1, configuration: &messages.Configuration{ClusterId: 3}}).encode()
	f.Add(appendFrame(nil, &frame1, kindOpen, payload))
	x := newSegmentIndex(1)
	x.apply(&logEdit{offset: segmentHeaderBytes, first: 1, count: 4, runs: []termRun{{1, 1}}})
	f.Add(appendFrame(nil, &frame1, kindIndex, x.encode(1, 9000, 7)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < frameHeaderBytes {
			return
		}
		b = append([]byte(nil), b...)
		got, err := decodeFrameHeader(b)
		if err != nil {
			if !errors.Is(err, errInvalidFrame) {
				t.Fatal(err)
			}
			return
		}
		if int64(got.length) > int64(len(b)) {
			return // the window refuses it
		}
		got.crc = checksum(b[4:got.tableEnd()])
		if err := got.checkTable(b); err != nil {
			return
		}
		at := got.tableEnd()
		if got.kind == kindBatch {
			for i := range got.entryCount {
				length, _ := got.entryAt(b, i)
				sumAt := frameHeaderBytes + termRunBytes*int64(got.runCount) + tableEntryBytes*int64(i) + 4
				le.PutUint32(b[sumAt:], checksum(b[at:at+int64(length)]))
				at += int64(length)
			}
		} else {
			got.payloadCRC = checksum(b[at : at+int64(got.payloadBytes)])
		}
		if err := got.checkPayload(b); err != nil {
			t.Fatalf("the checksums are right, but: %v", err)
		}
		var e logEdit
		if err := got.decodeEdit(b, &e); err != nil {
			return
		}
		if got.kind == kindBatch && got.entryCount > 0 {
			entries := got.decodeEntries(b)
			again := got
			if !bytes.Equal(appendBatchFrame(nil, &again, entries)[frameHeaderBytes:got.tableEnd()], b[frameHeaderBytes:got.tableEnd()]) {
				t.Fatal("decoded and encoded again it is another frame")
			}
		}
	})
}

func FuzzIndex(f *testing.F) {
	x := newSegmentIndex(7)
	x.apply(&logEdit{offset: segmentHeaderBytes, first: 7, count: 4, runs: []termRun{{7, 1}, {9, 2}}, configurations: []uint64{8}})
	x.apply(&logEdit{offset: segmentHeaderBytes + indexRowSpacing, first: 11, count: 4, runs: []termRun{{11, 2}}})
	f.Add(x.encode(3, 90000, 5))
	f.Fuzz(func(t *testing.T, b []byte) {
		x, segment, end, chain, err := decodeIndex(b)
		if err != nil {
			if !errors.Is(err, errInvalidFrame) {
				t.Fatal(err)
			}
			return
		}
		if !bytes.Equal(x.encode(segment, end, chain), b) {
			t.Fatal("decoded and encoded again it is another index")
		}
		for index := x.first; index <= x.last && index < x.first+100; index++ {
			if rows := x.rowsFor(index, index); len(rows) == 0 || rows[0].first > index {
				t.Fatalf("entry %d of [%d, %d] has rows %v", index, x.first, x.last, rows)
			}
		}
	})
}

func FuzzSegmentHeader(f *testing.F) {
	b := make([]byte, segmentHeaderBytes)
	h := segmentHeader{sequence: 3, nodeID: 1, previousSequence: 2, previousEnd: 5000}
	h.encode(b)
	f.Add(b[:96])
	f.Fuzz(func(t *testing.T, start []byte) {
		b := make([]byte, segmentHeaderBytes)
		copy(b, start)
		le.PutUint32(b[segmentHeaderBytes-4:], checksum(b[:segmentHeaderBytes-4]))
		h, err := decodeSegmentHeader("f", 3, b)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrFormat) {
				t.Fatal(err)
			}
			return
		}
		if h.sequence != 3 || h.previousSequence >= 3 {
			t.Fatalf("%+v", h)
		}
	})
}

func FuzzIdentity(f *testing.F) {
	b, _ := encodeIdentity(testIdentity())
	f.Add(b)
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		id, err := decodeIdentity("identity.json", b)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrFormat) {
				t.Fatal(err)
			}
			return
		}
		again, err := encodeIdentity(id)
		mustSucceed(t, err)
		if back, err := decodeIdentity("identity.json", again); err != nil || back != id {
			t.Fatalf("%+v became %+v, %v", id, back, err)
		}
	})
}

// FuzzSegment overwrites a byte range of the newest segment. The log opens with entries that were
// written, or is refused.
func FuzzSegment(f *testing.F) {
	fs := vfs.NewMem()
	l, m := newDamageTestLog(f, fs)
	if err := l.Idle(); err != nil {
		f.Fatal(err)
	}
	path, end := l.published.active.path, l.active.writeOffset
	f.Add(uint16(4200), []byte{1, 2, 3})
	f.Add(uint16(8), []byte{2})
	f.Fuzz(func(t *testing.T, at uint16, patch []byte) {
		disk := fs.CrashClone(vfs.KeepUnsynced)
		file, err := disk.OpenReadWrite(path)
		mustSucceed(t, err)
		if _, err := file.WriteAt(patch, int64(at)%end); err != nil {
			t.Fatal(err)
		}
		l, r, err := Open(testOptions(disk))
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrFormat) {
				t.Fatal(err)
			}
			return
		}
		for from := uint64(1); from <= r.LastIndex; {
			e, _, err := l.Reader().Read(from, r.LastIndex, 1<<20)
			if err != nil {
				t.Fatalf("read from %d: %v", from, err)
			}
			for i, data := range e.Data {
				index := from + uint64(i)
				if term := raft.EntriesTerm(e, index); !bytes.Equal(data, entryData(index, term, m.sizes[index-1])) {
					t.Fatalf("entry %d of term %d is %q", index, term, data)
				}
			}
			from += uint64(len(e.Data))
		}
	})
}
