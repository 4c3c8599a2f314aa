package link

import (
	"bytes"
	"fmt"
	"testing"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors/live"
	"github.com/troupe-raft/troupe/internal/lanes"
	"github.com/troupe-raft/troupe/messages"
)

// testEntries makes n entries of the given size from index first on, in two terms where there is
// room.
func testEntries(first uint64, n, size int) *messages.Entries {
	e := &messages.Entries{First: first, Runs: []*messages.TermRun{{FirstIndex: first, Term: 3}}}
	if n > 1 {
		e.Runs = append(e.Runs, &messages.TermRun{FirstIndex: first + uint64(n)/2, Term: 4})
	}
	for i := range n {
		e.Data = append(e.Data, bytes.Repeat([]byte{byte(i)}, size))
		e.Bytes += uint64(size)
	}
	return e
}

// samplePeerMessages returns one message of each type, with every field set.
func samplePeerMessages(from uint64) []messages.PeerMessage {
	return []messages.PeerMessage{
		&messages.RequestVote{Term: 9, Candidate: from, LastIndex: 1 << 40, LastTerm: 8, PreVote: true, Transfer: true},
		&messages.VoteResponse{Term: 9, Voter: from, Granted: true, PreVote: true, LeaderActive: true},
		&messages.AppendEntries{Term: 9, Leader: from, PrevIndex: 41, PrevTerm: 2, Entries: testEntries(42, 7, 33), Commit: 40, Stream: 5, Sequence: 6},
		&messages.AppendResponse{Term: 9, From: from, Accepted: true, Index: 48, Stream: 5, Sequence: 6, ConflictTerm: 1, ConflictIndex: 2, LastIndex: 3, DiskLow: true},
		&messages.Heartbeat{Term: 9, Leader: from, Commit: 40, Round: 77, LeaseMillis: 500},
		&messages.HeartbeatResponse{Term: 9, From: from, Round: 77, DiskLow: true},
		&messages.ForwardedProposals{From: from, Term: 9, Data: [][]byte{[]byte("a"), {}, []byte("c")}, Stream: 1 << 63, Number: 300},
		&messages.ProposalsRefused{From: from, SessionIds: []uint64{1, 2}, Sequences: []uint64{3, 4}, Reason: messages.Refusal_REFUSAL_OVERLOADED, Limit: 5},
		&messages.ForwardedRead{From: from, Id: 12, Unconfirmed: true},
		&messages.ForwardedReadResponse{From: from, Id: 12, Term: 9, Index: 40, Refusal: messages.Refusal_REFUSAL_NOT_READY},
		&messages.TimeoutNow{Term: 9, Leader: from},
		&messages.Removed{From: from, Term: 9, Index: 40},
		&messages.StorageRefused{From: from, StorageId: []byte{1, 2}, Known: []byte{3}, ConfigurationIndex: 7, LostEntries: true, Reason: "r"},
	}
}

func outgoingBatchOf(role messages.Receiver, list ...messages.PeerMessage) *outgoingBatch {
	o := &outgoingBatch{}
	for _, m := range list {
		o.messages = append(o.messages, lanes.Message{Role: role, Size: proto.Size(m), Message: m})
	}
	return o
}

func encodeBatch(t testing.TB, o *outgoingBatch) []byte {
	t.Helper()
	slices, err := batchCodec{}.Marshal(o)
	mustSucceed(t, err)
	return slices.Materialize()
}

func TestBatchEncodingEqualsTheSchema(t *testing.T) {
	list := samplePeerMessages(7)
	var batch messages.EnvelopeBatch
	for _, m := range list {
		batch.Envelopes = append(batch.Envelopes, messages.NewEnvelope(messages.Receiver_RECEIVER_REPLICATOR, m))
	}
	want, err := proto.Marshal(&batch)
	mustSucceed(t, err)
	if got := encodeBatch(t, outgoingBatchOf(messages.Receiver_RECEIVER_REPLICATOR, list...)); !bytes.Equal(got, want) {
		t.Fatalf("the batch is\n%x\nwant\n%x", got, want)
	}
}

func TestEveryPeerMessageSurvivesTheCodec(t *testing.T) {
	list := samplePeerMessages(7)
	descriptor := (&messages.Envelope{}).ProtoReflect().Descriptor().Oneofs().ByName("message")
	if len(list) != descriptor.Fields().Len() {
		t.Fatalf("%d samples for %d types", len(list), descriptor.Fields().Len())
	}
	var in incomingBatch
	mustSucceed(t, (batchCodec{}).Unmarshal(mem.BufferSlice{mem.SliceBuffer(encodeBatch(t, outgoingBatchOf(messages.Receiver_RECEIVER_NODE, list...)))}, &in))
	var got []messages.PeerMessage
	if err := in.forEach(func(role messages.Receiver, m messages.PeerMessage) {
		if role != messages.Receiver_RECEIVER_NODE {
			t.Errorf("role %v", role)
		}
		got = append(got, m)
	}); err != nil {
		t.Fatal(err)
	}
	for i := range list {
		if !proto.Equal(got[i], list[i]) {
			t.Errorf("decoded %v\nencoded %v", got[i], list[i])
		}
		if id := got[i].SenderID(); id != 7 {
			t.Errorf("%T: sender %x", got[i], id)
		}
	}
}

func TestUnknownMessageTypeDecodesAsNil(t *testing.T) {
	data := []byte{1<<3 | 2, 7, 1 << 3, 2, 0xfa, 0x01, 2, 8, 1} // role 2, field 31
	var kinds []string
	in := incomingBatch{data: data}
	mustSucceed(t, in.forEach(func(role messages.Receiver, m messages.PeerMessage) { kinds = append(kinds, fmt.Sprint(role, m)) }))
	if len(kinds) != 1 || kinds[0] != "RECEIVER_REPLICATOR <nil>" {
		t.Fatalf("decoded %v", kinds)
	}
}

func TestMessageChangedAfterSendIsAnError(t *testing.T) {
	m := &messages.Heartbeat{Term: 1}
	o := outgoingBatchOf(messages.Receiver_RECEIVER_NODE, m)
	m.Term = 1 << 60
	if _, err := lanes.AppendBatch(nil, o.messages); err == nil {
		t.Fatal("a batch with wrong lengths was encoded")
	}
}

func FuzzBatchFromAPeer(f *testing.F) {
	f.Add(encodeBatch(f, outgoingBatchOf(messages.Receiver_RECEIVER_NODE, samplePeerMessages(7)...)))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		in := incomingBatch{data: data}
		_ = in.forEach(func(role messages.Receiver, m messages.PeerMessage) {
			if m != nil {
				_ = live.CheckPeerMessage(7, role, m)
			}
		})
	})
}

func BenchmarkCodecAppendEntries100x256(b *testing.B) {
	m := &messages.AppendEntries{Term: 9, Leader: 7, Entries: testEntries(42, 100, 256)}
	o := outgoingBatchOf(messages.Receiver_RECEIVER_NODE, m)
	wire := encodeBatch(b, o)
	b.Run("write", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			o.messages[0].Size = proto.Size(m)
			slices, _ := batchCodec{}.Marshal(o)
			slices.Free()
		}
	})
	b.Run("read", func(b *testing.B) {
		b.ReportAllocs()
		source := mem.BufferSlice{mem.SliceBuffer(wire)}
		for range b.N {
			var in incomingBatch
			batchCodec{}.Unmarshal(source, &in)
			in.forEach(func(messages.Receiver, messages.PeerMessage) {})
		}
	})
}
