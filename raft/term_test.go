package raft

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/messages"
)

// Raft §5.1: "If a candidate or leader discovers that its term is out of date, it immediately
// reverts to follower state. If a server receives a request with a stale term number, it rejects
// the request."
func TestTermRule(t *testing.T) {
	for _, c := range []struct {
		name    string
		message func(term uint64) proto.Message
		// verdicts for a message of term 4, 5 and 6 in term 5
		verdicts [3]TermVerdict
	}{
		{"AppendEntries", func(term uint64) proto.Message { return &messages.AppendEntries{Term: term} },
			[3]TermVerdict{TermStale, TermCurrent, TermHigher}},
		{"Heartbeat", func(term uint64) proto.Message { return &messages.Heartbeat{Term: term} },
			[3]TermVerdict{TermStale, TermCurrent, TermHigher}},
		{"HeartbeatResponse", func(term uint64) proto.Message { return &messages.HeartbeatResponse{Term: term} },
			[3]TermVerdict{TermStale, TermCurrent, TermHigher}},
		{"HigherTerm", func(term uint64) proto.Message { return &messages.HigherTerm{Term: term} },
			[3]TermVerdict{TermCurrent, TermCurrent, TermHigher}},
		{"VoteResponse", func(term uint64) proto.Message { return &messages.VoteResponse{Term: term} },
			[3]TermVerdict{TermCurrent, TermCurrent, TermHigher}},
		{"refused pre-vote", func(term uint64) proto.Message { return &messages.VoteResponse{Term: term, PreVote: true} },
			[3]TermVerdict{TermCurrent, TermCurrent, TermHigher}},
		{"granted pre-vote", func(term uint64) proto.Message {
			return &messages.VoteResponse{Term: term, PreVote: true, Granted: true}
		}, [3]TermVerdict{TermCurrent, TermCurrent, TermCurrent}},
		{"RequestVote", func(term uint64) proto.Message { return &messages.RequestVote{Term: term} },
			[3]TermVerdict{TermCurrent, TermCurrent, TermCurrent}},
		{"TimeoutNow", func(term uint64) proto.Message { return &messages.TimeoutNow{Term: term} },
			[3]TermVerdict{TermCurrent, TermCurrent, TermCurrent}},
	} {
		for i, want := range c.verdicts {
			if got := TermRule(5, c.message(uint64(4+i))); got != want {
				t.Errorf("%s of term %d in term 5: %v, want %v", c.name, 4+i, got, want)
			}
		}
	}
}
