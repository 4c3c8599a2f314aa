package actors

import (
	"errors"
	"slices"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/rs/zerolog"
)

// recordingParent records what a parent is asked to do with a failed child.
type recordingParent struct{ calls []string }

func (p *recordingParent) Children() []*actor.PID { return nil }
func (p *recordingParent) EscalateFailure(reason, _ any) {
	p.calls = append(p.calls, "escalate "+reason.(error).Error())
}
func (p *recordingParent) RestartChildren(...*actor.PID) { p.calls = append(p.calls, "restart") }
func (p *recordingParent) StopChildren(pids ...*actor.PID) {
	p.calls = append(p.calls, "stop "+pids[0].Id)
}
func (p *recordingParent) ResumeChildren(...*actor.PID) { p.calls = append(p.calls, "resume") }

// escalateAll is a strategy that escalates every failure.
type escalateAll struct{}

func (escalateAll) HandleFailure(_ *actor.ActorSystem, parent actor.Supervisor, _ *actor.PID, _ *actor.RestartStatistics, reason, message any) {
	parent.EscalateFailure(reason, message)
}

// A parent that stops restarts no child. A failure that stops the node must reach the strategy all
// the same: if the parent is restarting, a log whose sync failed would be opened again (simulator:
// beyond-the-budget, seed 464411536457).
func TestE5StorageErrorOutlastsARestartingNode(t *testing.T) {
	log, storage := NodePath+"/"+LogStoreName, &StorageError{Operation: "sync", Err: errors.New("EIO")}
	for _, c := range []struct {
		name, child string
		reason      error
		calls       []string
	}{
		{"an internal error below a stopping actor", log, errors.New("a bug"), []string{"stop " + log}},
		{"a storage error below a stopping Node", log, storage, []string{"stop " + log, "escalate sync: EIO"}},
		{"a fatal error below a stopping Node", log, &FatalError{Err: errors.New("removed")}, []string{"stop " + log, "escalate removed"}},
		{"a storage error of the Node below a stopping supervisor", NodePath, storage, []string{"stop " + NodePath}},
	} {
		quiet := zerolog.Nop()
		g := GuardLifecycle(actor.ReceiveFunc(func(actor.Context) {}), escalateAll{}, &quiet).(*lifecycleGuard)
		g.stopping = true
		var parent recordingParent
		g.HandleFailure(nil, &parent, actor.NewPID("", c.child), nil, c.reason, nil)
		if !slices.Equal(parent.calls, c.calls) {
			t.Errorf("%s: %q, want %q", c.name, parent.calls, c.calls)
		}
	}
}
