package world

import (
	"fmt"
	"strings"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/internal/sim/history"
	"github.com/troupe-raft/troupe/internal/sim/trace"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// withoutText returns the event as explain.Cluster needs it, without texts.
func (n *rawEvent) withoutText() *trace.Event {
	e := &trace.Event{Step: n.step, At: n.at, Kind: n.kind, Member: n.member, Peer: n.peer, ID: n.id, Index: n.index, Until: n.until, Actor: n.actor, Name: n.name}
	switch n.kind {
	case trace.StateChanged:
		state := n.state
		e.State = &state
	case trace.LogChanged:
		e.Log = logChange(n.source)
	}
	return e
}

// event returns the event with its texts.
func (n *rawEvent) event() *trace.Event {
	e := n.withoutText()
	switch n.kind {
	case trace.StateChanged:
	case trace.LogChanged:
		e.Log.Texts = entryTexts(n.source)
	case trace.Sent, trace.Arrived, trace.Duplicated, trace.Handled:
		e.Name, e.Detail = describe(n.source)
	case trace.Lost, trace.Panicked:
		e.Name, e.Detail = describe(n.source)
		if n.kind == trace.Lost {
			e.Detail = n.name
		}
	case trace.Called:
		o := n.source.(*history.Operation)
		e.Actor, e.Name, e.Detail = o.Caller(), o.Kind.String(), o.Request()
	case trace.Returned:
		o := n.source.(*history.Operation)
		e.Actor, e.Name, e.Detail = o.Caller(), o.Kind.String(), o.Response()
	default:
		e.Detail, _ = n.source.(string)
	}
	if e.Actor == "" && (n.kind == trace.Handled || n.kind == trace.Panicked) {
		e.Actor = "node"
	}
	return e
}

// logChange returns what an Append to the LogStore, or a recovery, changes in the log of a Node.
func logChange(message any) *trace.Log {
	switch m := message.(type) {
	case *messages.Append:
		if len(m.GetEntries().GetData()) == 0 {
			return &trace.Log{From: m.TruncateFrom, Last: m.TruncateFrom - 1}
		}
		return &trace.Log{From: m.Entries.First, Last: raft.EntriesLast(m.Entries), Runs: traceRuns(m.Entries.Runs)}
	case *messages.Recovered:
		return &trace.Log{From: m.BaseIndex + 1, Last: m.LastIndex, Runs: traceRuns(m.Runs)}
	}
	return &trace.Log{From: 1}
}

// entryTexts describes the entries that a Node appends.
func entryTexts(message any) (words []string) {
	a, ok := message.(*messages.Append)
	if !ok {
		return nil // recovered entries were described when they were appended
	}
	for _, data := range a.GetEntries().GetData() {
		words = append(words, entryText(data))
	}
	return words
}

func entryText(data []byte) string {
	e, err := raft.DecodeEntry(data)
	switch {
	case err != nil:
		return "unreadable"
	case e.Kind == raft.KindRegisterSession:
		return fmt.Sprintf("register session of %d", e.NodeID)
	case e.Kind != raft.KindCommand || !history.IsCommand(e.Payload):
		return e.Kind.String()
	}
	c := history.DecodeCommand(e.Payload)
	return c.Kind.String() + " " + c.Request()
}

func traceRuns(of []*messages.TermRun) []trace.Run {
	all := make([]trace.Run, len(of))
	for i, r := range of {
		all[i] = trace.Run{First: r.FirstIndex, Term: r.Term}
	}
	return all
}

// describe returns the name of a message and its key fields.
func describe(message any) (name, detail string) {
	_, message, _ = actor.UnwrapEnvelope(message)
	m, ok := message.(proto.Message)
	if !ok {
		return strings.TrimPrefix(fmt.Sprintf("%T", message), "*actor."), ""
	}
	if peer, ok := m.(messages.PeerMessage); ok {
		return peer.Trace()
	}
	return string(m.ProtoReflect().Descriptor().Name()), localDetail(m)
}

// localDetail is for messages within a node.
func localDetail(message proto.Message) string {
	switch m := message.(type) {
	case *messages.Append:
		if m.TruncateFrom != 0 {
			return fmt.Sprintf("truncate from %d, %s, %s", m.TruncateFrom, messages.EntriesText(m.Entries), hardState(m.HardState))
		}
		return fmt.Sprintf("%s, %s", messages.EntriesText(m.Entries), hardState(m.HardState))
	case *messages.Recovered:
		return fmt.Sprintf("last %d, %s", m.LastIndex, hardState(m.HardState))
	case *messages.Durable:
		return fmt.Sprintf("to %d in term %d", m.GetMark().GetIndex(), m.GetMark().GetTerm())
	case *messages.Committed:
		return fmt.Sprintf("%s, commit %d", messages.EntriesText(m.Entries), m.Commit)
	case *messages.Pull:
		return fmt.Sprintf("from %d", m.From)
	case *messages.Replicate:
		return fmt.Sprintf("%s, commit %d", messages.EntriesText(m.Entries), m.Commit)
	case *messages.Fetched:
		return fmt.Sprintf("%s, commit %d", messages.EntriesText(m.Entries), m.Commit)
	case *messages.Fetch:
		return fmt.Sprintf("from %d for %d", m.From, m.Peer)
	case *messages.ReadLog:
		return fmt.Sprintf("%d to %d", m.From, m.To)
	case *messages.ReadLogResponse:
		return messages.EntriesText(m.Entries)
	case *messages.ReplicationProgress:
		return fmt.Sprintf("peer %d, match %d, %s", m.Peer, m.MatchIndex, m.State)
	case *messages.HigherTerm:
		return fmt.Sprintf("term %d of %d", m.Term, m.From)
	case *messages.LinkUp:
		return fmt.Sprintf("to %d", m.Peer)
	case *messages.LinkDown:
		return fmt.Sprintf("to %d", m.Peer)
	case *messages.EnvelopesDropped:
		return fmt.Sprintf("to %d", m.Peer)
	case *messages.TransferLeadership:
		return fmt.Sprintf("to %d", m.Target)
	case *messages.Tick:
		return fmt.Sprintf("timer %d", m.Timer)
	}
	return ""
}

func hardState(s *messages.HardState) string {
	if s.GetVote() == 0 {
		return fmt.Sprintf("term %d", s.GetTerm())
	}
	return fmt.Sprintf("term %d, vote %d", s.GetTerm(), s.GetVote())
}
