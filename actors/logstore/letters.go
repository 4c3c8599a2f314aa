package logstore

import (
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/messages"
)

// inner is the message in a letter; nil where there is none.
func envelopeMessage(letter *messages.Envelope) proto.Message {
	switch m := letter.GetMessage().(type) {
	case *messages.Envelope_RequestVote:
		return m.RequestVote
	case *messages.Envelope_VoteResponse:
		return m.VoteResponse
	case *messages.Envelope_AppendEntries:
		return m.AppendEntries
	case *messages.Envelope_AppendResponse:
		return m.AppendResponse
	case *messages.Envelope_Heartbeat:
		return m.Heartbeat
	case *messages.Envelope_HeartbeatResponse:
		return m.HeartbeatResponse
	case *messages.Envelope_ForwardedProposals:
		return m.ForwardedProposals
	case *messages.Envelope_ProposalsRefused:
		return m.ProposalsRefused
	case *messages.Envelope_ForwardedRead:
		return m.ForwardedRead
	case *messages.Envelope_ForwardedReadResponse:
		return m.ForwardedReadResponse
	case *messages.Envelope_TimeoutNow:
		return m.TimeoutNow
	case *messages.Envelope_Removed:
		return m.Removed
	}
	return nil
}
