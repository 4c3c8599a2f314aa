package raft

import "github.com/troupe-raft/troupe/messages"

// TermVerdict is the result of the term rule for a message.
type TermVerdict int

const (
	// TermCurrent: the receiver's role handles the message.
	TermCurrent TermVerdict = iota
	// TermHigher: the receiver adopts the term of the message as a follower.
	TermHigher
	// TermStale: the message is of an earlier term. The receiver drops it, and refuses a leader's
	// request with its own term (E17).
	TermStale
)

// TermRule returns what a node in term current does with a message before its role handles it
// (Raft §5.1). Requests for votes are current: DecideVote applies the term rule to them, because
// stickiness and pre-votes come before it (E15).
func TermRule(current uint64, message any) TermVerdict {
	switch m := message.(type) {
	case *messages.AppendEntries:
		return leaderTerm(current, m.Term)
	case *messages.Heartbeat:
		return leaderTerm(current, m.Term)
	case *messages.HeartbeatResponse:
		if m.Term < current {
			return TermStale // its round is of an earlier leadership (E26)
		}
		return responseTerm(current, m.Term)
	case *messages.HigherTerm:
		return responseTerm(current, m.Term)
	case *messages.VoteResponse:
		if m.PreVote && m.Granted {
			return TermCurrent // it has the term of the request, which nobody has adopted
		}
		return responseTerm(current, m.Term) // a voter that is behind refuses pre-votes in its own term
	}
	return TermCurrent
}

func leaderTerm(current, term uint64) TermVerdict {
	if term < current {
		return TermStale
	}
	return responseTerm(current, term)
}

func responseTerm(current, term uint64) TermVerdict {
	if term > current {
		return TermHigher
	}
	return TermCurrent
}
