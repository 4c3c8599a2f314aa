package logstore

import (
	"errors"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence"
)

// LogReader reads entries that are no longer in memory from disk: for peers that lag behind, and
// for replay. It is an actor of its own so that a read never delays a sync.
//
//	owns        open files and a few indexes of segments
//	receives    ReadLog from the Replicators and the Machine
//	sends       ReadLogResponse to the sender of the request
//	persists    nothing
//	on restart  alone; the sender of a lost request repeats it. A failed read stops the node
type LogReader struct {
	incarnation uint64
	reader      *persistence.Reader
	env         actors.Env
}

// Receive handles one message.
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
	response := &messages.ReadLogResponse{Incarnation: r.incarnation, Token: m.Token}
	entries, prevTerm, err := r.reader.Read(m.From, m.To, m.MaxBytes)
	for _, warning := range r.reader.Warnings() {
		r.env.Log().Warn().Str("actor", actors.LogReaderName).Msg(warning)
	}
	switch {
	case err == nil:
		response.Entries, response.PrevTerm = entries, prevTerm
	case errors.Is(err, persistence.ErrNotInLog):
		response.Missing = true
	default:
		panic(&actors.StorageError{Operation: "read the log", Err: err})
	}
	ctx.Respond(response)
}
