package supervisor

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/rs/zerolog"

	"github.com/troupe-raft/troupe/actors"
)

// RestartLimit bounds how often actors may be restarted: more than Max within Within stops the node.
type RestartLimit struct {
	Max    int
	Within time.Duration
}

// DefaultRestartLimit lets a node stumble, and stops one that cannot stand.
var DefaultRestartLimit = RestartLimit{Max: 10, Within: 30 * time.Second}

// strategy decides on every failure in the tree. Each actor's Props carry it, so it is called in the context of the
// failed actor's parent; it has its own lock because those are several.
type strategy struct {
	limit       RestartLimit
	now         func() time.Duration
	log         *zerolog.Logger
	recordFatal func(error) // records why the node stops; the first reason counts

	mu            sync.Mutex
	restarts      []time.Duration // those within the window
	totalRestarts int
}

// decision is what becomes of a failure.
type directive int

const (
	restartActor directive = iota
	restartNode
	stopNode
)

// decide is a function of who failed, with what.
func decide(child string, reason any) directive {
	if actors.StopsNode(reason) {
		return stopNode
	}
	name := child[strings.LastIndexByte(child, '/')+1:]
	if name == actors.LogReaderName || strings.HasPrefix(name, actors.ReplicatorPrefix) {
		return restartActor
	}
	return restartNode
}

// HandleFailure implements actor.SupervisorStrategy. What is decided for the whole node is carried out at the top: below
// it, the failure is escalated, which suspends the Node until then.
func (s *strategy) HandleFailure(_ *actor.ActorSystem, parent actor.Supervisor, child *actor.PID, _ *actor.RestartStatistics, reason, message any) {
	atTop := child.Id == actors.NodePath
	switch decide(child.Id, reason) {
	case stopNode:
		// Known at once, not when it gets to the top: a Node that is restarting meanwhile must not open its log (E5).
		s.recordFatal(asError(reason))
		if !atTop {
			parent.EscalateFailure(reason, message)
			return
		}
		s.stopTree(parent, child, asError(reason))
	case restartActor:
		if s.countRestart(child.Id, reason, message) {
			parent.EscalateFailure(s.restartLimitError(reason), message)
			return
		}
		parent.RestartChildren(child)
	case restartNode:
		if !atTop {
			parent.EscalateFailure(reason, message)
			return
		}
		if s.countRestart(child.Id, reason, message) {
			s.stopTree(parent, child, s.restartLimitError(reason))
			return
		}
		parent.RestartChildren(child)
	}
}

func (s *strategy) stopTree(parent actor.Supervisor, node *actor.PID, err error) {
	s.log.Error().Err(err).Msg("the node stops")
	s.recordFatal(err)
	parent.StopChildren(node)
}

// countRestart counts a restart and tells whether the window is exceeded.
func (s *strategy) countRestart(child string, reason, message any) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	kept := s.restarts[:0]
	for _, at := range s.restarts {
		if now-at < s.limit.Within {
			kept = append(kept, at)
		}
	}
	s.restarts = append(kept, now)
	s.totalRestarts++
	s.log.Error().Str("actor", child).Str("message", fmt.Sprintf("%T", message)).Str("reason", fmt.Sprint(reason)).
		Int("restarts_in_window", len(s.restarts)).Msg("actor failed and is restarted")
	return len(s.restarts) > s.limit.Max
}

func (s *strategy) restartLimitError(reason any) error {
	return &actors.FatalError{Err: fmt.Errorf("more than %d restarts of actors within %v, the last one for: %v; "+
		"this is a bug or a broken machine: keep the log of this node and its data directory for a report",
		s.limit.Max, s.limit.Within, reason)}
}

// Restarts is how many restarts there were since the start.
func (s *strategy) Restarts() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.totalRestarts
}

func asError(reason any) error {
	if err, ok := reason.(error); ok {
		return err
	}
	return fmt.Errorf("%v", reason)
}
