// Package logview describes the log of a data directory: for `troupe log dump`, and to name the
// owner of a directory.
package logview

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/kv/mvcc"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// Entry describes one entry of the log.
type Entry struct {
	Index    uint64 `json:"index"`
	Term     uint64 `json:"term"`
	Kind     string `json:"kind"`
	Bytes    int    `json:"bytes"`
	Session  string `json:"session,omitempty"`
	Sequence uint64 `json:"sequence,omitempty"`
	// Hash is the first 8 bytes of a command's SHA-256. A server that fails on a command logs it.
	Hash string `json:"hash,omitempty"`
	// What describes the entry in words.
	What string `json:"what,omitempty"`
}

// Describe returns the description of an encoded entry.
func Describe(index, term uint64, data []byte) Entry {
	d := Entry{Index: index, Term: term, Bytes: len(data)}
	e, err := raft.DecodeEntry(data)
	if err != nil {
		d.Kind, d.What = "unreadable", err.Error()
		return d
	}
	d.Kind, d.Sequence = e.Kind.String(), e.Sequence
	if e.SessionID != 0 {
		d.Session = fmt.Sprintf("%d", e.SessionID)
	}
	switch e.Kind {
	case raft.KindCommand:
		sum := sha256.Sum256(e.Payload)
		d.Hash, d.What = hex.EncodeToString(sum[:8]), describeCommand(e.Payload)
	case raft.KindConfiguration:
		d.What = describeConfiguration(data)
	case raft.KindRegisterSession:
		d.What = fmt.Sprintf("by member %#x", e.NodeID)
	}
	return d
}

func describeConfiguration(data []byte) string {
	c, err := raft.DecodeConfiguration(data)
	if err != nil {
		return err.Error()
	}
	return "cluster " + Configuration(c)
}

// Configuration returns the description of a configuration: the cluster and its members.
func Configuration(c *messages.Configuration) string {
	names := make([]string, len(c.Members))
	for i, m := range c.Members {
		names[i] = fmt.Sprintf("%s=%s (%#x)", m.Name, m.Address, m.Id)
		if m.Learner {
			names[i] += " learner"
		}
	}
	text := fmt.Sprintf("%#x: %s", c.ClusterId, strings.Join(names, ", "))
	if len(c.OutgoingVoters) > 0 {
		text += fmt.Sprintf("; joint with %#x", c.OutgoingVoters)
	}
	if len(c.Removed) > 0 {
		text += fmt.Sprintf("; removed %#x", c.Removed)
	}
	return text
}

// describeCommand describes a command of the key-value store.
func describeCommand(payload []byte) string {
	if len(payload) == 0 {
		return "empty"
	}
	var request proto.Message
	switch payload[0] {
	case mvcc.KindPut:
		request = &pb.PutRequest{}
	case mvcc.KindDeleteRange:
		request = &pb.DeleteRangeRequest{}
	case mvcc.KindTxn:
		request = &pb.TxnRequest{}
	case mvcc.KindCompact:
		request = &pb.CompactionRequest{}
	case mvcc.KindMemberAttributes:
		return "name and client URLs of a member"
	default:
		return "unknown"
	}
	if err := proto.Unmarshal(payload[1:], request); err != nil {
		return "unreadable: " + err.Error()
	}
	return describeRequest(request)
}

func describeRequest(request proto.Message) string {
	switch r := request.(type) {
	case *pb.PutRequest:
		text := fmt.Sprintf("put %s (%d bytes)", quoteKey(r.Key), len(r.Value))
		if r.Lease != 0 {
			text += fmt.Sprintf(" lease %x", r.Lease)
		}
		return text
	case *pb.DeleteRangeRequest:
		if len(r.RangeEnd) == 0 {
			return "delete " + quoteKey(r.Key)
		}
		return fmt.Sprintf("delete from %s to %s", quoteKey(r.Key), quoteKey(r.RangeEnd))
	case *pb.TxnRequest:
		return fmt.Sprintf("txn if %d compares then %s else %s", len(r.Compare), describeOperations(r.Success), describeOperations(r.Failure))
	case *pb.CompactionRequest:
		return fmt.Sprintf("compact up to revision %d", r.Revision)
	}
	return ""
}

func describeOperations(ops []*pb.RequestOp) string {
	texts := make([]string, 0, len(ops))
	for _, op := range ops {
		switch o := op.Request.(type) {
		case *pb.RequestOp_RequestPut:
			texts = append(texts, describeRequest(o.RequestPut))
		case *pb.RequestOp_RequestDeleteRange:
			texts = append(texts, describeRequest(o.RequestDeleteRange))
		case *pb.RequestOp_RequestRange:
			texts = append(texts, "range "+quoteKey(o.RequestRange.Key))
		case *pb.RequestOp_RequestTxn:
			texts = append(texts, "("+describeRequest(o.RequestTxn)+")")
		}
	}
	return "[" + strings.Join(texts, ", ") + "]"
}

// longestKey is the number of bytes of a key that are shown; a key may have 1.5 MiB.
const longestKey = 128

func quoteKey(k []byte) string {
	if len(k) > longestKey {
		return fmt.Sprintf("%q… (%d bytes)", k[:longestKey], len(k))
	}
	return fmt.Sprintf("%q", k)
}

// memberName returns the name of a member in a configuration entry, or "" if the entry is of
// another kind or does not name the member.
func memberName(data []byte, id uint64) string {
	if raft.KindOf(data) != raft.KindConfiguration {
		return ""
	}
	c, err := raft.DecodeConfiguration(data)
	if err != nil {
		return ""
	}
	for _, m := range c.Members {
		if m.Id == id {
			return m.Name
		}
	}
	return ""
}
