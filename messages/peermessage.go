package messages

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// PeerMessage is a message that nodes send each other: one case of Envelope.message.
//
// This file is the only list of them. A new message gets a case in peer.proto, a line in
// peerMessages and its methods below. The link, the LogStore, the simulator and its traces then
// handle it, and a test checks that no case is missing.
type PeerMessage interface {
	proto.Message
	// SenderID returns the id of the node that the message names as its sender.
	SenderID() uint64
	// EnvelopeField returns the number of the field of Envelope that carries the message.
	EnvelopeField() protowire.Number
	// Trace returns the name and the important fields of the message, for a person who reads a trace.
	Trace() (name, detail string)

	wrap() isEnvelope_Message
}

// peerMessages makes an empty message, by the number of the field of Envelope that carries it.
var peerMessages = [...]func() PeerMessage{
	2:  func() PeerMessage { return &RequestVote{} },
	3:  func() PeerMessage { return &VoteResponse{} },
	4:  func() PeerMessage { return &AppendEntries{} },
	5:  func() PeerMessage { return &AppendResponse{} },
	6:  func() PeerMessage { return &Heartbeat{} },
	7:  func() PeerMessage { return &HeartbeatResponse{} },
	8:  func() PeerMessage { return &ForwardedProposals{} },
	9:  func() PeerMessage { return &ProposalsRefused{} },
	10: func() PeerMessage { return &ForwardedRead{} },
	11: func() PeerMessage { return &ForwardedReadResponse{} },
	12: func() PeerMessage { return &TimeoutNow{} },
	13: func() PeerMessage { return &Removed{} },
	14: func() PeerMessage { return &StorageRefused{} },
}

// NewPeerMessage returns an empty message of the type that a field of Envelope carries; nil if
// there is no such field.
func NewPeerMessage(field protowire.Number) PeerMessage {
	if field < 0 || int(field) >= len(peerMessages) || peerMessages[field] == nil {
		return nil
	}
	return peerMessages[field]()
}

// NewEnvelope puts a message for the given actor of a peer into an Envelope.
func NewEnvelope(role Receiver, message PeerMessage) *Envelope {
	return &Envelope{Receiver: role, Message: message.wrap()}
}

// PeerMessage returns the message in the envelope; nil if there is none that this release knows.
func (e *Envelope) PeerMessage() PeerMessage {
	if wrapper, ok := e.GetMessage().(interface{ unwrap() PeerMessage }); ok {
		return wrapper.unwrap()
	}
	return nil
}

func (m *RequestVote) SenderID() uint64                { return m.GetCandidate() }
func (m *RequestVote) EnvelopeField() protowire.Number { return 2 }
func (m *RequestVote) wrap() isEnvelope_Message        { return &Envelope_RequestVote{m} }
func (w *Envelope_RequestVote) unwrap() PeerMessage    { return w.RequestVote }
func (m *RequestVote) Trace() (name, detail string) {
	name, transfer := "RequestVote", ""
	if m.PreVote {
		name = "RequestPreVote"
	}
	if m.Transfer {
		transfer = ", by transfer"
	}
	return name, fmt.Sprintf("term %d, last %d/%d%s", m.Term, m.LastIndex, m.LastTerm, transfer)
}

func (m *VoteResponse) SenderID() uint64                { return m.GetVoter() }
func (m *VoteResponse) EnvelopeField() protowire.Number { return 3 }
func (m *VoteResponse) wrap() isEnvelope_Message        { return &Envelope_VoteResponse{m} }
func (w *Envelope_VoteResponse) unwrap() PeerMessage    { return w.VoteResponse }
func (m *VoteResponse) Trace() (name, detail string) {
	name = "VoteResponse"
	if m.PreVote {
		name = "PreVoteResponse"
	}
	switch {
	case m.Granted:
		return name, fmt.Sprintf("granted, term %d", m.Term)
	case m.LeaderActive:
		return name, fmt.Sprintf("refused, term %d, leader active", m.Term)
	}
	return name, fmt.Sprintf("refused, term %d", m.Term)
}

func (m *AppendEntries) SenderID() uint64                { return m.GetLeader() }
func (m *AppendEntries) EnvelopeField() protowire.Number { return 4 }
func (m *AppendEntries) wrap() isEnvelope_Message        { return &Envelope_AppendEntries{m} }
func (w *Envelope_AppendEntries) unwrap() PeerMessage    { return w.AppendEntries }
func (m *AppendEntries) Trace() (name, detail string) {
	return "AppendEntries", fmt.Sprintf("term %d, prev %d/%d, %s, commit %d",
		m.Term, m.PrevIndex, m.PrevTerm, EntriesText(m.Entries), m.Commit)
}

func (m *AppendResponse) SenderID() uint64                { return m.GetFrom() }
func (m *AppendResponse) EnvelopeField() protowire.Number { return 5 }
func (m *AppendResponse) wrap() isEnvelope_Message        { return &Envelope_AppendResponse{m} }
func (w *Envelope_AppendResponse) unwrap() PeerMessage    { return w.AppendResponse }
func (m *AppendResponse) Trace() (name, detail string) {
	switch {
	case m.Accepted:
		detail = fmt.Sprintf("accepted to %d, term %d", m.Index, m.Term)
	case m.ConflictTerm != 0:
		detail = fmt.Sprintf("refused prev %d, term %d: term %d there, from %d", m.Index, m.Term, m.ConflictTerm, m.ConflictIndex)
	default:
		detail = fmt.Sprintf("refused prev %d, term %d: log ends at %d", m.Index, m.Term, m.LastIndex)
	}
	return "AppendResponse", detail
}

func (m *Heartbeat) SenderID() uint64                { return m.GetLeader() }
func (m *Heartbeat) EnvelopeField() protowire.Number { return 6 }
func (m *Heartbeat) wrap() isEnvelope_Message        { return &Envelope_Heartbeat{m} }
func (w *Envelope_Heartbeat) unwrap() PeerMessage    { return w.Heartbeat }
func (m *Heartbeat) Trace() (name, detail string) {
	if m.CommitOnly {
		return "Heartbeat", fmt.Sprintf("term %d, commit %d only", m.Term, m.Commit)
	}
	return "Heartbeat", fmt.Sprintf("term %d, commit %d, round %d", m.Term, m.Commit, m.Round)
}

func (m *HeartbeatResponse) SenderID() uint64                { return m.GetFrom() }
func (m *HeartbeatResponse) EnvelopeField() protowire.Number { return 7 }
func (m *HeartbeatResponse) wrap() isEnvelope_Message        { return &Envelope_HeartbeatResponse{m} }
func (w *Envelope_HeartbeatResponse) unwrap() PeerMessage    { return w.HeartbeatResponse }
func (m *HeartbeatResponse) Trace() (name, detail string) {
	return "HeartbeatResponse", fmt.Sprintf("term %d, round %d", m.Term, m.Round)
}

func (m *ForwardedProposals) SenderID() uint64                { return m.GetFrom() }
func (m *ForwardedProposals) EnvelopeField() protowire.Number { return 8 }
func (m *ForwardedProposals) wrap() isEnvelope_Message        { return &Envelope_ForwardedProposals{m} }
func (w *Envelope_ForwardedProposals) unwrap() PeerMessage    { return w.ForwardedProposals }
func (m *ForwardedProposals) Trace() (name, detail string) {
	return "ForwardedProposals", fmt.Sprintf("term %d, %s", m.Term, entryCount(len(m.Data)))
}

func (m *ProposalsRefused) SenderID() uint64                { return m.GetFrom() }
func (m *ProposalsRefused) EnvelopeField() protowire.Number { return 9 }
func (m *ProposalsRefused) wrap() isEnvelope_Message        { return &Envelope_ProposalsRefused{m} }
func (w *Envelope_ProposalsRefused) unwrap() PeerMessage    { return w.ProposalsRefused }
func (m *ProposalsRefused) Trace() (name, detail string) {
	return "ProposalsRefused", fmt.Sprintf("%s: %s", entryCount(len(m.Sequences)), refusalText(m.Reason))
}

func (m *ForwardedRead) SenderID() uint64                { return m.GetFrom() }
func (m *ForwardedRead) EnvelopeField() protowire.Number { return 10 }
func (m *ForwardedRead) wrap() isEnvelope_Message        { return &Envelope_ForwardedRead{m} }
func (w *Envelope_ForwardedRead) unwrap() PeerMessage    { return w.ForwardedRead }
func (m *ForwardedRead) Trace() (name, detail string) {
	return "ForwardedRead", fmt.Sprintf("id %d", m.Id%1000)
}

func (m *ForwardedReadResponse) SenderID() uint64                { return m.GetFrom() }
func (m *ForwardedReadResponse) EnvelopeField() protowire.Number { return 11 }
func (m *ForwardedReadResponse) wrap() isEnvelope_Message        { return &Envelope_ForwardedReadResponse{m} }
func (w *Envelope_ForwardedReadResponse) unwrap() PeerMessage    { return w.ForwardedReadResponse }
func (m *ForwardedReadResponse) Trace() (name, detail string) {
	if m.Refusal != Refusal_REFUSAL_UNSPECIFIED {
		return "ForwardedReadResponse", fmt.Sprintf("id %d, refused: %s", m.Id%1000, refusalText(m.Refusal))
	}
	return "ForwardedReadResponse", fmt.Sprintf("id %d, read point %d", m.Id%1000, m.Index)
}

func (m *TimeoutNow) SenderID() uint64                { return m.GetLeader() }
func (m *TimeoutNow) EnvelopeField() protowire.Number { return 12 }
func (m *TimeoutNow) wrap() isEnvelope_Message        { return &Envelope_TimeoutNow{m} }
func (w *Envelope_TimeoutNow) unwrap() PeerMessage    { return w.TimeoutNow }
func (m *TimeoutNow) Trace() (name, detail string) {
	return "TimeoutNow", fmt.Sprintf("term %d", m.Term)
}

func (m *Removed) SenderID() uint64                { return m.GetFrom() }
func (m *Removed) EnvelopeField() protowire.Number { return 13 }
func (m *Removed) wrap() isEnvelope_Message        { return &Envelope_Removed{m} }
func (w *Envelope_Removed) unwrap() PeerMessage    { return w.Removed }
func (m *Removed) Trace() (name, detail string) {
	return "Removed", fmt.Sprintf("term %d, at %d", m.Term, m.Index)
}

// EntriesText describes entries for a trace: index/term of a single entry, the first and last index
// of several.
func EntriesText(e *Entries) string {
	n := len(e.GetData())
	switch last := e.GetFirst() + uint64(n) - 1; n {
	case 0:
		return "no entries"
	case 1:
		return fmt.Sprintf("entry %d/%d", last, e.Runs[len(e.Runs)-1].Term)
	default:
		return fmt.Sprintf("entries %d–%d", e.First, last)
	}
}

func entryCount(n int) string {
	if n == 1 {
		return "1 entry"
	}
	return fmt.Sprintf("%d entries", n)
}

func refusalText(r Refusal) string {
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(r.String(), "REFUSAL_")), "_", " ")
}

func (m *StorageRefused) SenderID() uint64                { return m.GetFrom() }
func (m *StorageRefused) EnvelopeField() protowire.Number { return 14 }
func (m *StorageRefused) wrap() isEnvelope_Message        { return &Envelope_StorageRefused{m} }
func (w *Envelope_StorageRefused) unwrap() PeerMessage    { return w.StorageRefused }
func (m *StorageRefused) Trace() (name, detail string) {
	switch {
	case m.LostEntries:
		return "StorageRefused", fmt.Sprintf("storage id %x lost entries", m.StorageId)
	case m.Start != 0:
		return "StorageRefused", fmt.Sprintf("storage id %x, start %d", m.StorageId, m.Start)
	}
	return "StorageRefused", fmt.Sprintf("storage id %x, known is %x", m.StorageId, m.Known)
}
