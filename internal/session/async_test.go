package session

import (
	"context"
	"errors"
	"testing"

	"github.com/troupe-raft/troupe/messages"
)

// ended reports the outcome of an Async that has ended.
func ended(a *Async) (Outcome, bool) {
	select {
	case o := <-a.Outcome():
		return o, true
	default:
		return Outcome{}, false
	}
}

func TestAsyncCommandsAreSentInOrder(t *testing.T) {
	f := newSessionFixture(t)
	var all []*Async
	for _, command := range []string{"a", "b"} { // they wait for the registration
		all = append(all, f.ProposeAsync([]byte(command)))
	}
	f.Deliver(&messages.LeaderChanged{Incarnation: 1, Term: 1, Leader: 2})
	f.Deliver(&messages.SessionRegistered{Incarnation: 1, Nonce: []byte("nonce"), SessionId: 7})
	all = append(all, f.ProposeAsync([]byte("c")))
	sent := ""
	for _, e := range f.proposed() {
		sent += string(e.Payload)
	}
	if sent != "nonceabc" {
		t.Fatalf("sent %q", sent)
	}
	released := 0
	all[1].OnEnd(func() bool { released++; return true })
	f.applied(9, 1, 2, 3)
	for i, a := range all {
		if o, ok := ended(a); !ok || o.Err != nil || o.Index == 0 {
			t.Errorf("command %d: ended %v, %+v", i+1, ok, o)
		}
	}
	all[0].OnEnd(func() bool { released++; return true })
	if n, bytes := f.Pending(); n != 0 || bytes != 0 || released != 2 {
		t.Errorf("%d commands, %d bytes are pending; %d of 2 were released", n, bytes, released)
	}
}

func TestAbandonedAsyncCommandsFreeTheirPlaces(t *testing.T) {
	f := newSessionFixture(t)
	waiting := f.ProposeAsync([]byte("unregistered"))
	waiting.Abandon(context.Canceled)
	if o, ok := ended(waiting); !ok || !errors.Is(o.Err, ErrCanceled) {
		t.Errorf("abandoned before the registration: %v, %v", ok, o.Err)
	}
	f.Deliver(&messages.LeaderChanged{Incarnation: 1, Term: 1, Leader: 2})
	f.Deliver(&messages.SessionRegistered{Incarnation: 1, Nonce: []byte("nonce"), SessionId: 7})
	f.sent = nil
	sent := f.ProposeAsync([]byte("sent"))
	sent.Abandon(context.DeadlineExceeded)
	sent.Abandon(context.Canceled) // has no effect
	if o, ok := ended(sent); !ok || !errors.Is(o.Err, ErrTimeout) {
		t.Errorf("abandoned after it was sent: %v, %v", ok, o.Err)
	}
	if n, bytes := f.Pending(); n != 0 || bytes != 0 || len(f.proposed()) != 1 {
		t.Errorf("%d commands, %d bytes are pending; sent: %v", n, bytes, f.proposed())
	}
}

func TestAsyncCommandsAreRefusedAtOnce(t *testing.T) {
	f := newServingFixture(t)
	large := f.ProposeAsync(make([]byte, 101))
	if o, ok := ended(large); !ok || !errors.Is(o.Err, ErrTooLarge) {
		t.Errorf("larger than the limit: %v, %v", ok, o.Err)
	}
	pending := f.ProposeAsync([]byte("pending"))
	f.Close(errStopped)
	late := f.ProposeAsync([]byte("late"))
	for _, a := range []*Async{pending, late} {
		if o, ok := ended(a); !ok || !errors.Is(o.Err, errStopped) {
			t.Errorf("at a closed session: %v, %v", ok, o.Err)
		}
	}
	early := newSessionFixture(t)
	unregistered := early.ProposeAsync([]byte("unregistered"))
	early.Close(errStopped)
	if o, ok := ended(unregistered); !ok || !errors.Is(o.Err, errStopped) {
		t.Errorf("closed before the registration: %v, %v", ok, o.Err)
	}
}
