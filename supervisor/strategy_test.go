package supervisor

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/rs/zerolog"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/actors/node"
	"github.com/troupe-raft/troupe/messages"
)

// recordingParent records what a parent is asked to do with a failed child.
type recordingParent struct{ calls []string }

func (f *recordingParent) Children() []*actor.PID { return nil }
func (f *recordingParent) EscalateFailure(reason, _ any) {
	f.calls = append(f.calls, fmt.Sprintf("escalate: %v", reason))
}
func (f *recordingParent) RestartChildren(...*actor.PID) { f.calls = append(f.calls, "restart") }
func (f *recordingParent) StopChildren(...*actor.PID)    { f.calls = append(f.calls, "stop") }
func (f *recordingParent) ResumeChildren(...*actor.PID)  { f.calls = append(f.calls, "resume") }

func TestFailureDecidesWhatRestarts(t *testing.T) {
	internal := errors.New("index out of range")
	disk := &actors.StorageError{Operation: "append to x", Err: errors.New("input/output error")}
	application := &actors.ApplicationError{Index: 7, Err: errors.New("x")}
	fatal := &actors.FatalError{Err: errors.New("removed")}
	for _, c := range []struct {
		child  string
		reason any
		want   directive
	}{
		{"log/reader", internal, restartActor},
		{"peer-3", internal, restartActor},
		{"peer-3", "a panic with a string", restartActor},
		{"peer-3", &actors.InjectedCrash{Description: "x"}, restartActor},
		{"log", internal, restartNode},
		{"machine", internal, restartNode},
		{"machine", &actors.InjectedCrash{Description: "x"}, restartNode},
		{"", internal, restartNode},
		{"log", disk, stopNode},
		{"log/reader", disk, stopNode},
		{"log", fmt.Errorf("wrapped: %w", disk), stopNode},
		{"machine", application, stopNode},
		{"", fatal, stopNode},
		{"peer-3", fatal, stopNode},
	} {
		if got := decide(actorID(c.child), c.reason); got != c.want {
			t.Errorf("%q failing with %v: decision %d, want %d", c.child, c.reason, got, c.want)
		}
	}
}

// fakeClock is the strategy's clock.
type fakeClock struct{ now time.Duration }

func newStrategy(max int, within time.Duration) (*strategy, *fakeClock, *error) {
	c, stopped, log := &fakeClock{}, new(error), zerolog.Nop()
	return &strategy{
		limit: RestartLimit{Max: max, Within: within}, now: func() time.Duration { return c.now }, log: &log,
		recordFatal: func(err error) { *stopped = err },
	}, c, stopped
}

func (s *strategy) handleFailure(child string, reason any) []string {
	f := &recordingParent{}
	s.HandleFailure(nil, f, actor.NewPID("here", child), nil, reason, &messages.Flush{})
	return f.calls
}

func TestInternalErrorBelowNodeRestartsNode(t *testing.T) {
	s, _, stopped := newStrategy(3, time.Minute)
	if got := s.handleFailure(actorID("machine"), errors.New("bug")); !slices.Equal(got, []string{"escalate: bug"}) {
		t.Fatalf("at the Node: %v", got)
	}
	if got := s.handleFailure(actors.NodePath, errors.New("bug")); !slices.Equal(got, []string{"restart"}) || *stopped != nil {
		t.Fatalf("at the supervisor: %v, stopped with %v", got, *stopped)
	}
	if s.Restarts() != 1 {
		t.Fatalf("%d restarts counted for one", s.Restarts())
	}
}

func TestE5StorageErrorStopsTheNode(t *testing.T) {
	s, _, stopped := newStrategy(3, time.Minute)
	storage := &actors.StorageError{Operation: "sync x", Err: errors.New("input/output error")}
	if got := s.handleFailure(actorID("log"), storage); len(got) != 1 || got[0] != "escalate: "+storage.Error() {
		t.Fatalf("at the Node: %v", got)
	}
	if got := s.handleFailure(actors.NodePath, storage); !slices.Equal(got, []string{"stop"}) || !errors.Is(*stopped, storage) {
		t.Fatalf("at the supervisor: %v, stopped with %v", got, *stopped)
	}
}

// The Node may be restarting when its log fails, and may restart before the supervisor has the
// failure.
func TestE5NoNodeIsMadeOnceTheNodeMustStop(t *testing.T) {
	quiet := zerolog.Nop()
	tree := New(Config{}, &quiet, func() time.Duration { return 0 })
	if _, is := tree.newNode().(*node.Node); !is {
		t.Fatal("the first incarnation is not a Node")
	}
	guard := actors.GuardLifecycle(tree.newNode(), tree.Strategy(), &quiet)
	guard.(actor.SupervisorStrategy).HandleFailure(nil, &recordingParent{}, actor.NewPID("here", actorID("peer-2")), nil, errors.New("bug"), nil)
	if _, is := tree.newNode().(*node.Node); !is || tree.Err() != nil {
		t.Fatalf("no Node is made after an internal error in a replicator: %v", tree.Err())
	}
	storage := &actors.StorageError{Operation: "sync x", Err: errors.New("input/output error")}
	f := &recordingParent{}
	guard.(actor.SupervisorStrategy).HandleFailure(nil, f, actor.NewPID("here", actorID("log")), nil, storage, nil)
	if len(f.calls) != 1 || !errors.Is(tree.Err(), storage) {
		t.Fatalf("at the Node: %v; the reason to stop: %v", f.calls, tree.Err())
	}
	next := tree.newNode()
	if _, is := next.(*node.Node); is {
		t.Fatal("another Node is made, which would open the log")
	}
	next.Receive(nil) // does nothing until it is stopped
}

func TestTooManyRestartsStopTheNode(t *testing.T) {
	s, c, stopped := newStrategy(3, time.Minute)
	for range 3 {
		if got := s.handleFailure(actors.NodePath, errors.New("bug")); !slices.Equal(got, []string{"restart"}) {
			t.Fatalf("within the window: %v", got)
		}
	}
	// A replicator's restarts count too; beyond the limit its failure is escalated.
	if got := s.handleFailure(actorID("peer-2"), errors.New("bug")); len(got) != 1 || got[0][:8] != "escalate" {
		t.Fatalf("beyond the window: %v", got)
	}
	c.now += time.Minute
	if got := s.handleFailure(actors.NodePath, errors.New("bug")); !slices.Equal(got, []string{"restart"}) {
		t.Fatalf("in the next window: %v", got)
	}
	for range 3 {
		s.handleFailure(actors.NodePath, errors.New("bug"))
	}
	var fatal *actors.FatalError
	if !errors.As(*stopped, &fatal) {
		t.Fatalf("after too many restarts the node stopped with %v", *stopped)
	}
}

func TestCrashPointMatchesOneActorAndMessage(t *testing.T) {
	i := &CrashInjector{}
	if err := i.Arm(CrashPoint{Actor: "machine", Message: "Committed", Times: 2}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		id, kind string
		want     bool
	}{
		{actorID("log"), "Committed", false},
		{actorID("machine"), "ReadLogResponse", false},
		{actorID("machine"), "Committed", true},
		{actorID("machine"), "Committed", true},
		{actorID("machine"), "Committed", false},
	} {
		if _, hit := i.match(c.id, c.kind); hit != c.want {
			t.Errorf("%s at %s: hit %v, want %v", c.id, c.kind, hit, c.want)
		}
	}
	if i.armed.Load() != 0 {
		t.Errorf("%d crashes are armed", i.armed.Load())
	}
}
