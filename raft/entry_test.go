package raft

import (
	"bytes"
	"errors"
	"math"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/troupe-raft/troupe/messages"
)

func TestDecodeEntryReversesEncoding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		number := rapid.OneOf(rapid.Uint64(), rapid.Uint64Range(0, 300), rapid.SampledFrom([]uint64{127, 128, math.MaxUint64}))
		want := Entry{Kind: EntryKind(rapid.IntRange(1, 6).Draw(t, "kind"))}
		payload := rapid.SliceOf(rapid.Byte()).Draw(t, "payload")
		var data []byte
		switch want.Kind {
		case KindCommand:
			want.SessionID, want.Sequence, want.LowestOutstanding = number.Draw(t, "session"), number.Draw(t, "sequence"), number.Draw(t, "lowest")
			want.Payload = payload
			data = EncodeCommand(want.SessionID, want.Sequence, want.LowestOutstanding, payload)
		case KindNoop:
			data = EncodeNoop()
		case KindConfiguration:
			c := &messages.Configuration{ClusterId: number.Draw(t, "cluster")}
			data = EncodeConfiguration(c)
			want.Payload, _ = proto.Marshal(c)
		case KindRegisterSession:
			want.NodeID, want.Payload = number.Draw(t, "node"), payload
			data = EncodeRegisterSession(payload, want.NodeID)
		case KindExpireSession:
			want.SessionID = number.Draw(t, "session")
			data = EncodeExpireSession(want.SessionID)
		case KindBarrier:
			want.SessionID, want.Sequence, want.LowestOutstanding = number.Draw(t, "session"), number.Draw(t, "sequence"), number.Draw(t, "lowest")
			data = EncodeBarrier(want.SessionID, want.Sequence, want.LowestOutstanding)
		}
		got, err := DecodeEntry(data)
		if err != nil {
			t.Fatalf("%x: %v", data, err)
		}
		if !bytes.Equal(got.Payload, want.Payload) {
			t.Fatalf("payload %x, want %x", got.Payload, want.Payload)
		}
		got.Payload, want.Payload = nil, nil
		if !equalEntries(got, want) || KindOf(data) != want.Kind {
			t.Fatalf("%x decodes to %+v, want %+v", data, got, want)
		}
	})
}

func equalEntries(a, b Entry) bool {
	return a.Kind == b.Kind && a.SessionID == b.SessionID && a.Sequence == b.Sequence &&
		a.LowestOutstanding == b.LowestOutstanding && a.NodeID == b.NodeID && bytes.Equal(a.Payload, b.Payload)
}

func TestDecodeEntryRefusesMalformedBytes(t *testing.T) {
	for name, data := range map[string][]byte{
		"nothing":                   {},
		"kind 0":                    {0},
		"kind after the last":       {7},
		"longer barrier":            {6, 1, 1, 1, 0},
		"command without numbers":   {1},
		"command with two numbers":  {1, 1, 1},
		"uvarint of too many bytes": {1, 0x81, 0x00, 1, 1},
		"uvarint above 64 bits":     {5, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02},
		"unfinished uvarint":        {4, 0x80},
		"longer noop":               {2, 0},
		"longer expireSession":      {5, 1, 0},
	} {
		if _, err := DecodeEntry(data); !errors.Is(err, ErrMalformedEntry) {
			t.Errorf("%s (%x): error %v", name, data, err)
		}
	}
	if _, err := DecodeConfiguration(EncodeNoop()); !errors.Is(err, ErrMalformedEntry) {
		t.Errorf("a noop as configuration: %v", err)
	}
	if _, err := DecodeConfiguration([]byte{3, 0xff}); !errors.Is(err, ErrMalformedEntry) {
		t.Errorf("malformed configuration: %v", err)
	}
}

func TestEntryAllocations(t *testing.T) {
	payload := make([]byte, 128)
	var data []byte
	if n := testing.AllocsPerRun(100, func() { data = EncodeCommand(1<<40, 1<<20, 1<<19, payload) }); n != 1 {
		t.Errorf("encoding: %v allocations", n)
	}
	if cap(data) != len(data) && cap(data)-len(data) >= 64 {
		t.Errorf("%d bytes with a capacity of %d", len(data), cap(data))
	}
	var e Entry
	if n := testing.AllocsPerRun(100, func() { e, _ = DecodeEntry(data) }); n != 0 || e.Sequence != 1<<20 {
		t.Errorf("decoding: %v allocations", n)
	}
}

func TestConfigurationEncodingIsDeterministic(t *testing.T) {
	c := testConfiguration(1, 2, 3)
	data := EncodeConfiguration(c)
	again, err := DecodeConfiguration(data)
	if err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(c, again) || !bytes.Equal(EncodeConfiguration(again), data) {
		t.Fatalf("%v became %v", c, again)
	}
}

// A value has one encoding: a decoded entry encodes to the same bytes.
func FuzzDecodeEntry(f *testing.F) {
	f.Add(EncodeCommand(300, 2, 1, []byte("x")))
	f.Add(EncodeNoop())
	f.Add(EncodeConfiguration(testConfiguration(1, 2)))
	f.Add(EncodeRegisterSession([]byte("nonce"), 7))
	f.Add(EncodeExpireSession(1 << 63))
	f.Add(EncodeBarrier(3, 2, 1))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := DecodeEntry(data)
		if err != nil {
			return
		}
		var again []byte
		switch e.Kind {
		case KindCommand:
			again = EncodeCommand(e.SessionID, e.Sequence, e.LowestOutstanding, e.Payload)
		case KindNoop:
			again = EncodeNoop()
		case KindConfiguration:
			if c, err := DecodeConfiguration(data); err == nil {
				_ = ValidateConfiguration(c)
			}
			return
		case KindRegisterSession:
			again = EncodeRegisterSession(e.Payload, e.NodeID)
		case KindBarrier:
			again = EncodeBarrier(e.SessionID, e.Sequence, e.LowestOutstanding)
		case KindExpireSession:
			again = EncodeExpireSession(e.SessionID)
		}
		if !bytes.Equal(data, again) {
			t.Fatalf("%x decodes to %+v, which encodes to %x", data, e, again)
		}
	})
}

// Functions that take entries do not panic with entries that CheckEntries accepts.
func FuzzCheckEntries(f *testing.F) {
	for _, e := range []*messages.Entries{
		testEntries(1, 1), testEntries(5, 2, 2, 3), testEntries(7, 1, 4, 9), {First: 3}, {},
		{First: math.MaxUint64, Runs: []*messages.TermRun{{FirstIndex: math.MaxUint64, Term: 1}}, Data: [][]byte{{2}}, Bytes: 1},
	} {
		data, _ := proto.Marshal(e)
		f.Add(data, uint64(6))
	}
	f.Fuzz(func(t *testing.T, data []byte, index uint64) {
		e := new(messages.Entries)
		if proto.Unmarshal(data, e) != nil || CheckEntries(e) != nil || len(e.Data) == 0 {
			return
		}
		index = e.First + index%uint64(len(e.Data))
		piece := SliceEntries(e, index, index%100)
		if err := CheckEntries(piece); err != nil {
			t.Fatalf("slice of checked entries: %v", err)
		}
		log := NewLogTerms(e.First-1, e.Runs[0].Term, e.First-1, nil)
		log.Append(e)
		if EntriesTerm(e, index) != EntriesTerm(piece, index) || log.FindConflict(piece) != 0 {
			t.Fatalf("the slice from %d is not in the entries", index)
		}
		log.Truncate(index)
		if got := log.FindConflict(e); got != index {
			t.Fatalf("conflict at %d in a log truncated from %d", got, index)
		}
	})
}
