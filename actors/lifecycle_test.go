package actors

import (
	"errors"
	"slices"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/rs/zerolog"
)

// above records what a parent is told to do about a child that failed.
type recordingParent struct{ calls []string }

func (a *recordingParent) Children() []*actor.PID { return nil }
func (a *recordingParent) EscalateFailure(reason, _ any) {
	a.calls = append(a.calls, "escalate "+reason.(error).Error())
}
func (a *recordingParent) RestartChildren(...*actor.PID) { a.calls = append(a.calls, "restart") }
func (a *recordingParent) StopChildren(pids ...*actor.PID) {
	a.calls = append(a.calls, "stop "+pids[0].Id)
}
func (a *recordingParent) ResumeChildren(...*actor.PID) { a.calls = append(a.calls, "resume") }

// upwards is a strategy that carries up whatever it is asked about.
type escalateAll struct{}

func (escalateAll) HandleFailure(_ *actor.ActorSystem, parent actor.Supervisor, _ *actor.PID, _ *actor.RestartStatistics, reason, message any) {
	parent.EscalateFailure(reason, message)
}

// A parent that was told to end resurrects nobody, but a fault that stops the node outlives it: its end may be a restart,
// after which a log whose sync failed would be opened again (simulator: beyond-the-budget, seed 464411536457).
func TestE5AStorageFaultIsNotForgottenWhileTheNodeAboveRestarts(t *testing.T) {
	log, fault := NodePath+"/"+LogStoreName, &StorageError{Operation: "sync", Err: errors.New("EIO")}
	for _, c := range []struct {
		name, child string
		reason      error
		did         []string
	}{
		{"a bug below an actor that ends", log, errors.New("a bug"), []string{"stop " + log}},
		{"a storage fault below a Node that ends", log, fault, []string{"stop " + log, "escalate sync: EIO"}},
		{"a fatal condition, too", log, &FatalError{Err: errors.New("removed")}, []string{"stop " + log, "escalate removed"}},
		{"at the top there is nobody to carry it to", NodePath, fault, []string{"stop " + NodePath}},
	} {
		quiet := zerolog.Nop()
		g := GuardLifecycle(actor.ReceiveFunc(func(actor.Context) {}), escalateAll{}, &quiet).(*lifecycleGuard)
		g.stopping = true
		var parent recordingParent
		g.HandleFailure(nil, &parent, actor.NewPID("", c.child), nil, c.reason, nil)
		if !slices.Equal(parent.calls, c.did) {
			t.Errorf("%s: %q, want %q", c.name, parent.calls, c.did)
		}
	}
}
