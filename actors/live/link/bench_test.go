package link

import (
	"net"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/rs/zerolog"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/actors/live"
	"github.com/troupe-raft/troupe/messages"
)

// benchNode makes a member whose Node is a function.
func benchNode(b *testing.B, id uint64, receive func(env *live.Env, m any)) (*live.Env, *messages.Member) {
	listener := listen(b, "127.0.0.1:0")
	l, err := New(Options{Listeners: []net.Listener{listener}, ClusterID: clusterID})
	if err != nil {
		b.Fatal(err)
	}
	env := live.New(live.Options{ID: id, Address: listener.Addr().String(), Link: l, Logger: zerolog.Nop()})
	pid, err := env.System().Root.SpawnNamed(env.Props(func() actor.Actor {
		return actor.ReceiveFunc(func(ctx actor.Context) { receive(env, ctx.Message()) })
	}), actors.NodePath)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		env.Close()
		env.System().Root.Stop(pid)
		env.AwaitActors()
	})
	return env, &messages.Member{Id: id, Address: listener.Addr().String()}
}

// benchPair makes two connected members.
func benchPair(b *testing.B, first, second func(env *live.Env, m any)) (one, two *live.Env) {
	up := make(chan struct{}, 16)
	watch := func(inner func(*live.Env, any)) func(*live.Env, any) {
		return func(env *live.Env, m any) {
			if _, ok := m.(*messages.LinkUp); ok {
				up <- struct{}{}
				return
			}
			inner(env, m)
		}
	}
	one, a := benchNode(b, 1, watch(first))
	two, z := benchNode(b, 2, watch(second))
	one.SetPeers(0, &messages.Configuration{Members: []*messages.Member{a, z}})
	two.SetPeers(0, &messages.Configuration{Members: []*messages.Member{a, z}})
	<-up
	<-up
	return one, two
}

// A message and its response, from actor to actor.
func BenchmarkRoundTrip(b *testing.B) {
	for _, c := range []struct {
		name    string
		request proto.Message
	}{
		{"heartbeat", &messages.Heartbeat{Leader: 1, Round: 1}},
		{"append1x256", &messages.AppendEntries{Leader: 1, Entries: testEntries(1, 1, 256)}},
		{"append100x256", &messages.AppendEntries{Leader: 1, Entries: testEntries(1, 100, 256)}},
	} {
		b.Run(c.name, func(b *testing.B) {
			responded := make(chan struct{}, 1)
			response := &messages.AppendResponse{From: 2, Accepted: true}
			one, _ := benchPair(b, func(_ *live.Env, m any) {
				if _, ok := m.(*messages.AppendResponse); ok {
					responded <- struct{}{}
				}
			}, func(env *live.Env, m any) {
				switch m.(type) {
				case *messages.Heartbeat, *messages.AppendEntries:
					env.System().Root.Send(env.PeerPID(1, messages.Receiver_RECEIVER_NODE), response)
				}
			})
			peer := one.PeerPID(2, messages.Receiver_RECEIVER_NODE)
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				one.System().Root.Send(peer, c.request)
				<-responded
			}
		})
	}
}

// AppendEntries one way, with as many messages in flight as a replicator allows.
func BenchmarkThroughput(b *testing.B) {
	for _, c := range []struct {
		name          string
		entries, size int
	}{{"1x256", 1, 256}, {"100x256", 100, 256}, {"16x64KiB", 16, 64 << 10}} {
		b.Run(c.name, func(b *testing.B) {
			const window = 32
			credits := make(chan struct{}, window)
			done := make(chan struct{})
			left := b.N
			one, _ := benchPair(b, func(*live.Env, any) {}, func(_ *live.Env, m any) {
				if _, ok := m.(*messages.AppendEntries); ok {
					<-credits
					if left--; left == 0 {
						close(done)
					}
				}
			})
			peer := one.PeerPID(2, messages.Receiver_RECEIVER_NODE)
			request := &messages.AppendEntries{Leader: 1, Entries: testEntries(1, c.entries, c.size)}
			b.SetBytes(int64(c.entries * c.size))
			b.ReportAllocs()
			b.ResetTimer()
			start := time.Now()
			for range b.N {
				credits <- struct{}{}
				one.System().Root.Send(peer, request)
			}
			<-done
			b.ReportMetric(float64(b.N*c.entries)/time.Since(start).Seconds(), "entries/s")
		})
	}
}
