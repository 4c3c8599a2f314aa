// Package linktest records what a peer link delivers to a node, for the tests of the links.
package linktest

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
)

// Timeout is how long a test waits for an event that must happen.
const Timeout = time.Minute

// Env is the part of live.Env that a Recorder uses.
type Env interface {
	System() *actor.ActorSystem
	Props(actor.Producer, ...actor.PropsOption) *actor.Props
	PeerPID(id uint64, role messages.Receiver) *actor.PID
	AwaitActors()
}

// Recorder runs in place of a Node and its replicators. It records each message that they receive:
// LinkUp as "up <peer>", LinkDown as "down <peer>: <reason>", EnvelopesDropped as "dropped <peer>",
// other messages as they are.
type Recorder struct {
	Node, Replicator chan any

	env  Env
	pids []*actor.PID
	stop sync.Once
	done chan struct{} // closed by Stop; an actor with a full channel does not wait any longer
}

// Record starts a recorder with replicators for the given peers. It stops at the end of the test.
func Record(t testing.TB, env Env, replicators ...uint64) *Recorder {
	t.Helper()
	r := &Recorder{Node: make(chan any, 1<<16), Replicator: make(chan any, 1<<16), env: env, done: make(chan struct{})}
	r.spawn(t, actors.NodePath, r.Node)
	for _, peer := range replicators {
		r.spawn(t, actors.ReplicatorPath(peer), r.Replicator)
	}
	t.Cleanup(r.Stop)
	return r
}

func (r *Recorder) spawn(t testing.TB, path string, into chan<- any) {
	t.Helper()
	pid, err := r.env.System().Root.SpawnNamed(r.env.Props(func() actor.Actor {
		return actor.ReceiveFunc(func(ctx actor.Context) { r.record(ctx.Message(), into) })
	}), path)
	if err != nil {
		t.Fatal(err)
	}
	r.pids = append(r.pids, pid)
}

func (r *Recorder) record(message any, into chan<- any) {
	switch m := message.(type) {
	case actor.SystemMessage, actor.AutoReceiveMessage:
		return
	case *messages.LinkUp:
		message = fmt.Sprintf("up %x", m.Peer)
	case *messages.LinkDown:
		message = fmt.Sprintf("down %x: %s", m.Peer, m.Reason)
	case *messages.EnvelopesDropped:
		message = fmt.Sprintf("dropped %x", m.Peer)
	}
	select {
	case into <- message:
	case <-r.done:
	}
}

// Stop stops the actors and waits for their goroutines.
func (r *Recorder) Stop() {
	r.stop.Do(func() { close(r.done) })
	for _, pid := range r.pids {
		r.env.System().Root.Stop(pid)
	}
	r.env.AwaitActors()
}

// Send sends a message to an actor of a peer.
func (r *Recorder) Send(to uint64, role messages.Receiver, message any) {
	r.env.System().Root.Send(r.env.PeerPID(to, role), message)
}

// Heartbeat makes a message between nodes.
func Heartbeat(from, round uint64) *messages.Heartbeat {
	return &messages.Heartbeat{Leader: from, Round: round}
}

// Receive returns the next record.
func Receive(t testing.TB, records <-chan any) any {
	t.Helper()
	select {
	case got := <-records:
		return got
	case <-time.After(Timeout):
		t.Fatal("no message was received")
		return nil
	}
}

// Expect checks the next records. A wanted "down <peer>" matches any reason.
func Expect(t testing.TB, records <-chan any, wanted ...any) {
	t.Helper()
	for _, want := range wanted {
		if got := Receive(t, records); !matches(got, want) {
			t.Fatalf("received %v, want %v", got, want)
		}
	}
}

func matches(got, want any) bool {
	switch want := want.(type) {
	case proto.Message:
		other, ok := got.(proto.Message)
		return ok && proto.Equal(want, other)
	case string:
		text, ok := got.(string)
		return ok && (text == want || strings.HasPrefix(text, want+": "))
	}
	return got == want
}
