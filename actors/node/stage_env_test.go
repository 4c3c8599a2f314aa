package node

import (
	"fmt"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/actors/internal/rehearsal"
	"github.com/troupe-raft/troupe/messages"
)

// The stage as the environment of its actors.

type stageRandom stage

func (r *stageRandom) Int64N(n int64) int64 { return r.dice(n) }
func (r *stageRandom) Uint64() uint64       { return 42 }

func (s *stage) Random() actors.Random               { return (*stageRandom)(s) }
func (s *stage) SetPeers(members []*messages.Member) { s.members = members }
func (s *stage) Probe() actors.Probe                 { return stageProbe{s: s} }

func (s *stage) Handle() *actor.PID {
	return s.Ear("handle", func(m proto.Message) { s.heard = append(s.heard, m) })
}

func (s *stage) Peer(id uint64, role messages.Role) *actor.PID {
	return s.Ear(fmt.Sprintf("%v of %d", role, id), func(m proto.Message) { s.said = append(s.said, said{id, role, m}) })
}

type stageProbe struct {
	rehearsal.NoProbe
	s *stage
}

func (p stageProbe) Node(v actors.NodeView) { p.s.views = append(p.s.views, v) }
