package logstore

import (
	"errors"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence"
)

// LogReader reads old entries from disk, for peers that lag and for replay, so that a read never delays a sync.
//
// owns:     read handles and a few indexes of segments
// hears:    ReadLog from Replicators and Machine
// says:     ReadLogResponse to who asked
// persists: nothing
// on a crash: restarts alone; the question in hand is lost, and asked again by who waits for it. What it cannot read
// because the disk is at fault stops the node.
type LogReader struct {
	incarnation uint64
	reader      *persistence.Reader
	env         actors.Env
}

// Receive is the actor's one way in.
func (r *LogReader) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *messages.ReadLog:
		if m.Incarnation == r.incarnation {
			r.read(ctx, m)
		}
	case *actor.Restarting, *actor.Stopped:
		r.reader.Close()
	}
}

func (r *LogReader) read(ctx actor.Context, m *messages.ReadLog) {
	answer := &messages.ReadLogResponse{Incarnation: r.incarnation, Token: m.Token}
	entries, prevTerm, err := r.reader.Read(m.From, m.To, m.MaxBytes)
	for _, warning := range r.reader.Warnings() {
		r.env.Log().Warn().Str("actor", actors.LogReaderName).Msg(warning)
	}
	switch {
	case err == nil:
		answer.Entries, answer.PrevTerm = entries, prevTerm
	case errors.Is(err, persistence.ErrNotInLog):
		answer.Missing = true
	default:
		panic(&actors.StorageError{Operation: "read the log", Err: err})
	}
	ctx.Respond(answer)
}
