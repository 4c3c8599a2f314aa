package actors

import (
	"errors"
	"slices"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/rs/zerolog"
)

// above records what a parent is told to do about a child that failed.
type above struct{ did []string }

func (a *above) Children() []*actor.PID { return nil }
func (a *above) EscalateFailure(reason, _ any) {
	a.did = append(a.did, "escalate "+reason.(error).Error())
}
func (a *above) RestartChildren(...*actor.PID)   { a.did = append(a.did, "restart") }
func (a *above) StopChildren(pids ...*actor.PID) { a.did = append(a.did, "stop "+pids[0].Id) }
func (a *above) ResumeChildren(...*actor.PID)    { a.did = append(a.did, "resume") }

// upwards is a strategy that carries up whatever it is asked about.
type upwards struct{}

func (upwards) HandleFailure(_ *actor.ActorSystem, parent actor.Supervisor, _ *actor.PID, _ *actor.RestartStatistics, reason, message any) {
	parent.EscalateFailure(reason, message)
}

// A parent that was told to end resurrects nobody, but a fault that stops the node outlives it: its end may be a restart,
// after which a log whose sync failed would be opened again (simulator: beyond-the-budget, seed 464411536457).
func TestE5AStorageFaultIsNotForgottenWhileTheNodeAboveRestarts(t *testing.T) {
	log, fault := NodePath+"/"+LogName, &StorageFault{Doing: "sync", Err: errors.New("EIO")}
	for _, c := range []struct {
		name, child string
		reason      error
		did         []string
	}{
		{"a bug below an actor that ends", log, errors.New("a bug"), []string{"stop " + log}},
		{"a storage fault below a Node that ends", log, fault, []string{"stop " + log, "escalate sync: EIO"}},
		{"a fatal condition, too", log, &Fatal{Err: errors.New("removed")}, []string{"stop " + log, "escalate removed"}},
		{"at the top there is nobody to carry it to", NodePath, fault, []string{"stop " + NodePath}},
	} {
		quiet := zerolog.Nop()
		g := Guard(actor.ReceiveFunc(func(actor.Context) {}), upwards{}, &quiet).(*guarded)
		g.ending = true
		var parent above
		g.HandleFailure(nil, &parent, actor.NewPID("", c.child), nil, c.reason, nil)
		if !slices.Equal(parent.did, c.did) {
			t.Errorf("%s: %q, want %q", c.name, parent.did, c.did)
		}
	}
}
