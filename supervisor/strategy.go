package supervisor

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/rs/zerolog"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/internal/defaults"
)

// RestartLimit bounds the restarts of a node's actors: more than Max restarts within the duration
// Within stop the node.
type RestartLimit struct {
	Max    int
	Within time.Duration
}

// DefaultRestartLimit allows for a few unrelated failures, and stops a node that fails on every
// start.
var DefaultRestartLimit = RestartLimit{Max: defaults.MaxRestarts, Within: defaults.RestartPeriod}

// strategy decides about every failure in the tree. All actors of the node have it in their Props,
// so several parents may call it at once; mu guards the counts.
type strategy struct {
	limit       RestartLimit
	now         func() time.Duration
	log         *zerolog.Logger
	recordFatal func(error) // records why the node stops; later reasons are dropped
	restarting  func(actor string, reason any)

	mu            sync.Mutex
	restarts      []time.Duration // the times of those within the window
	totalRestarts int
}

// directive is what happens after a failure.
type directive int

const (
	restartActor directive = iota
	restartNode
	stopNode
)

// decide maps a failure to a directive: child is the id of the actor that failed, reason what it
// panicked with.
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

// HandleFailure implements actor.SupervisorStrategy: it carries out the directive. A directive for
// the whole node is carried out by the supervisor, so below it the failure is escalated; that
// suspends the Node until then.
func (s *strategy) HandleFailure(_ *actor.ActorSystem, parent actor.Supervisor, child *actor.PID, _ *actor.RestartStatistics, reason, message any) {
	d := decide(child.Id, reason)
	if d == stopNode {
		// Recorded at once, not only by the supervisor: a Node that restarts meanwhile must not open its
		// log (E5).
		s.recordFatal(asError(reason))
	}
	if d != restartActor && child.Id != actors.NodePath {
		parent.EscalateFailure(reason, message)
		return
	}
	switch {
	case d == stopNode:
		s.stopTree(parent, child, asError(reason))
	case !s.countRestart(child.Id, reason, message):
		if s.restarting != nil {
			s.restarting(child.Id, reason)
		}
		parent.RestartChildren(child)
	case d == restartActor:
		parent.EscalateFailure(s.restartLimitError(reason), message)
	default:
		s.stopTree(parent, child, s.restartLimitError(reason))
	}
}

func (s *strategy) stopTree(parent actor.Supervisor, node *actor.PID, err error) {
	s.log.Error().Err(err).Msg("node stops")
	s.recordFatal(err)
	parent.StopChildren(node)
}

// countRestart counts a restart and reports whether it exceeds the limit.
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
		Int("restarts_in_window", len(s.restarts)).Msg("actor failed, restarting")
	return len(s.restarts) > s.limit.Max
}

func (s *strategy) restartLimitError(reason any) error {
	return &actors.FatalError{Err: fmt.Errorf("more than %d restarts of actors within %v, the last one after: %v; "+
		"this is an internal error or broken hardware: keep the log of this node and its data directory for a report",
		s.limit.Max, s.limit.Within, reason)}
}

// Restarts is the number of restarts since the start.
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
