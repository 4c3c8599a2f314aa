package lanes

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/messages"
)

// The decoders that share memory agree with proto.Unmarshal.
func FuzzDecodersAgreeWithProtobuf(f *testing.F) {
	for _, m := range []proto.Message{
		&messages.AppendEntries{
			Term: 9, Leader: 7, PrevIndex: 41, PrevTerm: 2, Commit: 40, Stream: 5, Sequence: 6,
			Entries: &messages.Entries{
				First: 42, Bytes: 6, Data: [][]byte{[]byte("abc"), {}, []byte("def")},
				Runs: []*messages.TermRun{{FirstIndex: 42, Term: 3}, {FirstIndex: 44, Term: 4}},
			},
		},
		&messages.ForwardedProposals{From: 7, Term: 9, Data: [][]byte{[]byte("a"), {}}, Stream: 1 << 63, Number: 300},
	} {
		data, _ := proto.Marshal(m)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		compare := func(own proto.Message, ownErr error) {
			theirs := own.ProtoReflect().New().Interface()
			theirErr := proto.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(data, theirs)
			if theirErr != nil {
				return // no peer sends what protobuf refuses
			}
			if ownErr != nil {
				t.Fatalf("%T: error %v, protobuf decodes %v", own, ownErr, theirs)
			}
			if !proto.Equal(own, theirs) {
				t.Fatalf("decoded %v\nprotobuf decodes %v", own, theirs)
			}
		}
		appendEntries := &messages.AppendEntries{}
		compare(appendEntries, decodeAppendEntries(data, appendEntries))
		proposals := &messages.ForwardedProposals{}
		compare(proposals, decodeForwardedProposals(data, proposals))
	})
}
