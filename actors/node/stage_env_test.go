package node

import (
	"fmt"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

// The stage as the environment of its actors.

func (s *stage) Schedule(fn func()) { s.queue = append(s.queue, fn) }
func (s *stage) Throughput() int    { return 1000 }

func (s *stage) ID() uint64 { return 1 }

func (s *stage) Props(producer actor.Producer, options ...actor.PropsOption) *actor.Props {
	options = append(options, actor.WithDispatcher(s), actor.WithSupervisor(s),
		actor.WithReceiverMiddleware(func(next actor.ReceiverFunc) actor.ReceiverFunc {
			return func(ctx actor.ReceiverContext, e *actor.MessageEnvelope) {
				if _, ok := e.Message.(*crashNow); ok {
					panic("crash injected by the test")
				}
				next(ctx, e)
			}
		}))
	return actor.PropsFromProducer(producer, options...)
}

// HandleFailure restarts after the test's own crashes and stops after all others.
func (s *stage) HandleFailure(_ *actor.ActorSystem, supervisor actor.Supervisor, child *actor.PID, _ *actor.RestartStatistics, reason, message any) {
	if _, ours := message.(*crashNow); ours {
		supervisor.RestartChildren(child)
		return
	}
	s.failures = append(s.failures, reason)
	supervisor.StopChildren(child)
}

func (s *stage) Now() time.Duration { return s.now }

func (s *stage) After(d time.Duration, to *actor.PID, message proto.Message) actors.Timer {
	timer := &stageTimer{due: s.now + d, to: to, message: message}
	s.timers = append(s.timers, timer)
	return timer
}

type stageRandom stage

func (r *stageRandom) Int64N(n int64) int64 { return r.dice(n) }
func (r *stageRandom) Uint64() uint64       { return 42 }

func (s *stage) Random() actors.Random               { return (*stageRandom)(s) }
func (s *stage) FS() vfs.FS                          { panic("the Node needs no files") }
func (s *stage) SetPeers(members []*messages.Member) { s.members = members }
func (s *stage) Log() *zerolog.Logger                { return &s.log }
func (s *stage) Probe() actors.Probe                 { return (*stageProbe)(s) }

// ear is a process that is no actor: what it is sent is written down in the moment of sending.
type ear struct{ hear func(proto.Message) }

func (e *ear) SendUserMessage(_ *actor.PID, message any) {
	_, m, _ := actor.UnwrapEnvelope(message)
	e.hear(m.(proto.Message))
}
func (e *ear) SendSystemMessage(*actor.PID, any) {}
func (e *ear) Stop(*actor.PID)                   {}

func (s *stage) ear(name string, hear func(proto.Message)) *actor.PID {
	pid := actor.NewPID(s.system.Address(), name)
	if _, known := s.system.ProcessRegistry.GetLocal(name); !known {
		s.system.ProcessRegistry.Add(&ear{hear}, name)
	}
	return pid
}

func (s *stage) Handle() *actor.PID {
	return s.ear("handle", func(m proto.Message) { s.heard = append(s.heard, m) })
}

func (s *stage) Peer(id uint64, role messages.Role) *actor.PID {
	return s.ear(fmt.Sprintf("%v of %d", role, id), func(m proto.Message) { s.said = append(s.said, said{id, role, m}) })
}

type stageProbe stage

func (p *stageProbe) Node(v actors.NodeView)           { p.views = append(p.views, v) }
func (p *stageProbe) Log(actors.LogView)               {}
func (p *stageProbe) Machine(actors.MachineView)       {}
func (p *stageProbe) Replicator(actors.ReplicatorView) {}
func (p *stageProbe) Synced(int, int, time.Duration)   {}
