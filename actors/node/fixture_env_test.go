package node

import (
	"fmt"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/actors/internal/actortest"
	"github.com/troupe-raft/troupe/messages"
)

// The stage as the environment of its actors.

type fixtureRandom fixture

func (r *fixtureRandom) Int64N(n int64) int64 { return r.randomInt64(n) }
func (r *fixtureRandom) Uint64() uint64       { return 42 }

func (s *fixture) Random() actors.Random               { return (*fixtureRandom)(s) }
func (s *fixture) SetPeers(members []*messages.Member) { s.members = members }
func (s *fixture) Observer() actors.StateObserver      { return fixtureObserver{s: s} }

func (s *fixture) Session() *actor.PID {
	return s.Sink("handle", func(m proto.Message) { s.sentToSession = append(s.sentToSession, m) })
}

func (s *fixture) PeerPID(id uint64, role messages.Role) *actor.PID {
	return s.Sink(fmt.Sprintf("%v of %d", role, id), func(m proto.Message) { s.sentToPeers = append(s.sentToPeers, peerMessage{id, role, m}) })
}

type fixtureObserver struct {
	actortest.NoObserver
	s *fixture
}

func (p fixtureObserver) Node(v actors.NodeView) { p.s.nodeViews = append(p.s.nodeViews, v) }
