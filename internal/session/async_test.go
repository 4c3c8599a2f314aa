package session

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/troupe-raft/troupe/messages"
)

// asyncProposal is an Async with the outcomes that it delivered.
type asyncProposal struct {
	*Async
	outcomes []Outcome
}

func (f *sessionFixture) submit(command string) *asyncProposal {
	a := &asyncProposal{}
	buffer := []byte(command)
	a.Async = f.ProposeAsync(buffer, func(o Outcome) { a.outcomes = append(a.outcomes, o) })
	clear(buffer) // the command is copied
	return a
}

// requireOutcome checks that the proposal has ended once, with an error of the given kind.
func (a *asyncProposal) requireOutcome(t *testing.T, want error) {
	t.Helper()
	if len(a.outcomes) != 1 || !errors.Is(a.outcomes[0].Err, want) {
		t.Errorf("outcomes %+v, want one with %v", a.outcomes, want)
	}
}

func TestAsyncCommandsAreSentInOrder(t *testing.T) {
	f := newSessionFixture(t)
	var all []*asyncProposal
	for _, command := range []string{"a", "b"} { // they wait for the registration
		all = append(all, f.submit(command))
	}
	f.Deliver(&messages.LeaderChanged{Incarnation: 1, Term: 1, Leader: 2})
	f.Deliver(&messages.SessionRegistered{Incarnation: 1, Nonce: []byte("nonce"), SessionId: 7})
	all = append(all, f.submit("c"))
	sent := ""
	for _, e := range f.proposed() {
		sent += string(e.Payload)
	}
	if sent != "nonceabc" {
		t.Fatalf("sent %q", sent)
	}
	f.applied(9, 1, 2, 3)
	for _, a := range all {
		a.requireOutcome(t, nil)
		if a.outcomes[0].Index == 0 {
			t.Errorf("outcome %+v", a.outcomes[0])
		}
	}
	if n, bytes := f.Pending(); n != 0 || bytes != 0 {
		t.Errorf("%d commands, %d bytes are pending", n, bytes)
	}
}

func TestAbandonedAsyncCommandsFreeTheirPlaces(t *testing.T) {
	f := newSessionFixture(t)
	waiting := f.submit("unregistered")
	waiting.Abandon(context.Canceled)
	waiting.requireOutcome(t, ErrCanceled)
	f.Deliver(&messages.LeaderChanged{Incarnation: 1, Term: 1, Leader: 2})
	f.Deliver(&messages.SessionRegistered{Incarnation: 1, Nonce: []byte("nonce"), SessionId: 7})
	f.sent = nil
	sent := f.submit("sent")
	sent.Abandon(context.DeadlineExceeded)
	sent.Abandon(context.Canceled) // has no effect
	sent.requireOutcome(t, ErrTimeout)
	if n, bytes := f.Pending(); n != 0 || bytes != 0 || len(f.proposed()) != 1 {
		t.Errorf("%d commands, %d bytes are pending; sent: %v", n, bytes, f.proposed())
	}
}

func TestAsyncCommandsAreRefusedAtOnce(t *testing.T) {
	f := newServingFixture(t)
	large := f.submit(strings.Repeat("x", 101))
	large.requireOutcome(t, ErrTooLarge)
	pending := f.submit("pending")
	f.Close(errStopped)
	late := f.submit("late")
	for _, a := range []*asyncProposal{pending, late} {
		a.requireOutcome(t, errStopped)
	}
	early := newSessionFixture(t)
	unregistered := early.submit("unregistered")
	early.Close(errStopped)
	unregistered.requireOutcome(t, errStopped)
}
