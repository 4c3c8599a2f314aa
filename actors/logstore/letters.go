package logstore

import (
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/messages"
)

// inner is the message in a letter; nil where there is none.
func inner(letter *messages.Letter) proto.Message {
	switch m := letter.GetMessage().(type) {
	case *messages.Letter_RequestVote:
		return m.RequestVote
	case *messages.Letter_VoteAnswer:
		return m.VoteAnswer
	case *messages.Letter_AppendEntries:
		return m.AppendEntries
	case *messages.Letter_AppendAnswer:
		return m.AppendAnswer
	case *messages.Letter_Heartbeat:
		return m.Heartbeat
	case *messages.Letter_HeartbeatAnswer:
		return m.HeartbeatAnswer
	case *messages.Letter_ForwardedProposals:
		return m.ForwardedProposals
	case *messages.Letter_ProposalsRefused:
		return m.ProposalsRefused
	case *messages.Letter_ForwardedRead:
		return m.ForwardedRead
	case *messages.Letter_ForwardedReadAnswer:
		return m.ForwardedReadAnswer
	case *messages.Letter_TimeoutNow:
		return m.TimeoutNow
	case *messages.Letter_Removed:
		return m.Removed
	}
	return nil
}
