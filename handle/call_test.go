package handle

import (
	"errors"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// desk is a handle whose Node is the test.
type desk struct {
	*Handle
	t    *testing.T
	now  time.Duration
	said []proto.Message
}

func newDesk(t *testing.T) *desk {
	return newDeskWith(t, Limits{MaxRequestBytes: 100, MaxPendingRequests: 4, MaxPendingBytes: 1 << 20})
}

func newDeskWith(t *testing.T, limits Limits) *desk {
	d := &desk{t: t}
	d.Handle = New(Config{
		Node: 1, Limits: limits, FirstRead: 10,
		Nonce: func() []byte { return []byte("nonce") },
		Now:   func() time.Duration { return d.now },
		Send:  func(m proto.Message) { d.said = append(d.said, m) },
	})
	return d
}

// works is a desk whose member follows a leader, has its origin, and has replayed its log up to index 5.
func works(t *testing.T) *desk {
	d := newDesk(t)
	d.work()
	return d
}

// work has the member follow a leader, get its origin, and replay its log. Nothing that was said before is kept.
func (d *desk) work() {
	d.Hear(&messages.LeaderChanged{Incarnation: 1, Term: 1, Leader: 2})
	d.Hear(&messages.OriginOpened{Incarnation: 1, Nonce: []byte("nonce"), Origin: 7})
	d.Hear(&messages.Serving{Incarnation: 1, Applied: 5})
	d.said = nil
}

func (d *desk) proposed() (all []raft.Entry) {
	for _, m := range d.said {
		if p, ok := m.(*messages.Propose); ok {
			e, err := raft.DecodeEntry(p.Data)
			if err != nil {
				d.t.Fatal(err)
			}
			all = append(all, e)
		}
	}
	return all
}

func (d *desk) applied(index uint64, sequences ...uint64) {
	m := &messages.Results{Incarnation: 1, Origin: 7, Applied: index, Term: 1}
	for range sequences {
		m.Indexes, m.Values = append(m.Indexes, index), append(m.Values, []byte("value"))
		m.Outcomes = append(m.Outcomes, messages.Outcome_OUTCOME_APPLIED)
	}
	m.Sequences = sequences
	d.Hear(m)
}

func TestACallIsAnsweredWhenItsCommandIsApplied(t *testing.T) {
	d := works(t)
	c := d.Begin([]byte("command"))
	if c.Poll() || len(d.proposed()) != 1 {
		t.Fatalf("ended %v, sent %v", c.Poll(), d.said)
	}
	d.applied(6, 1)
	if !c.Poll() || c.Err != nil || c.Index != 6 || string(c.Value) != "value" {
		t.Fatalf("answered %+v", c.Outcome)
	}
	if c.GiveUp(errors.New("too late")); c.Err != nil {
		t.Fatal("given up after its answer, it lost it")
	}
}

func TestACallBeforeThereIsAnOriginIsSentOnceThereIs(t *testing.T) {
	d := newDesk(t)
	c := d.Begin([]byte("command"))
	d.Hear(&messages.LeaderChanged{Incarnation: 1, Term: 1, Leader: 2})
	if sent := d.proposed(); c.Poll() || len(sent) != 1 || sent[0].Kind != raft.KindOpenOrigin {
		t.Fatalf("sent %v", sent)
	}
	d.Hear(&messages.OriginOpened{Incarnation: 1, Nonce: []byte("nonce"), Origin: 7})
	c.Poll()
	if sent := d.proposed(); c.Poll() || len(sent) != 2 || sent[1].Origin != 7 {
		t.Fatalf("sent %v", d.proposed())
	}
	d.applied(6, 1)
	if !c.Poll() || c.Err != nil {
		t.Fatalf("answered %+v", c.Outcome)
	}
}

func TestACallThatIsGivenUpSaysWhatIsKnown(t *testing.T) {
	why := errors.New("why")
	d := works(t)
	write, read := d.Begin([]byte("x")), d.BeginRead(ReadIndex)
	for _, c := range []*Call{write, read} {
		if c.GiveUp(why); !c.Poll() || !errors.Is(c.Err, ErrTimeout) || !errors.Is(c.Err, why) {
			t.Errorf("given up: %v", c.Err)
		}
	}
	d.applied(6, 1) // after all
	if n, bytes := d.Pending(); n != 0 || bytes != 0 || write.Err == nil {
		t.Errorf("%d commands, %d bytes wait; the call says %v", n, bytes, write.Err)
	}
	d = newDesk(t)
	unsent := d.Begin([]byte("x"))
	local := d.BeginRead(ReadLocal)
	if unsent.GiveUp(why); !errors.Is(unsent.Err, ErrNoLeader) {
		t.Errorf("given up without a leader: %v", unsent.Err)
	}
	if local.GiveUp(why); !errors.Is(local.Err, ErrTimeout) { // a replay needs no leader
		t.Errorf("given up during the replay: %v", local.Err)
	}
	d.Hear(&messages.LeaderChanged{Incarnation: 1, Term: 1, Leader: 2})
	d.Hear(&messages.OriginOpened{Incarnation: 1, Nonce: []byte("nonce"), Origin: 7})
	if unsent.Poll(); len(d.proposed()) != 1 {
		t.Errorf("what was given up was sent: %v", d.proposed())
	}
}

func TestCallsAreRefusedAtTheirLimits(t *testing.T) {
	d := works(t)
	if c := d.Begin(make([]byte, 101)); !c.Poll() || !errors.Is(c.Err, ErrTooLarge) {
		t.Errorf("101 bytes of 100: %v", c.Err)
	}
	for range 4 {
		d.Begin([]byte("x"))
	}
	if c := d.Begin([]byte("x")); !c.Poll() || !errors.Is(c.Err, ErrOverloaded) {
		t.Errorf("the fifth of four: %v", c.Err)
	}
}

func TestReadsThatDoNotWaitKeepWhatTheirModesPromise(t *testing.T) {
	d := works(t)
	if c := d.BeginRead(ReadLocal); !c.Poll() || c.Index != 5 {
		t.Errorf("local: %+v", c.Outcome)
	}
	for mode, asked := range map[ReadMode]messages.ReadMode{
		ReadIndex: messages.ReadMode_READ_MODE_INDEX, ReadLease: messages.ReadMode_READ_MODE_INDEX, ReadLeader: messages.ReadMode_READ_MODE_LEADER,
	} {
		d := works(t)
		c := d.BeginRead(mode)
		ask, ok := d.said[0].(*messages.AskRead)
		if !ok || ask.Mode != asked || c.Poll() {
			t.Fatalf("mode %d: said %v", mode, d.said)
		}
		d.Hear(&messages.ReadPoint{Incarnation: 1, Id: ask.Id, Index: 8, Term: 1})
		if c.Poll() {
			t.Errorf("mode %d: answered before index 8 is applied", mode)
		}
		if d.applied(8); !c.Poll() || c.Index != 8 {
			t.Errorf("mode %d: %+v", mode, c.Outcome)
		}
	}
	c := d.BeginRead(ReadLog)
	if sent := d.proposed(); len(sent) != 1 || sent[0].Kind != raft.KindBarrier {
		t.Fatalf("log: sent %v", sent)
	}
	if d.applied(9, 1); !c.Poll() || c.Index != 9 {
		t.Errorf("log: %+v", c.Outcome)
	}
}

// After a start the Machine tells the results of all that it replays, those of the process before as well, whose commands had
// the same numbers.
func TestResultsOfAnotherOriginAreNobodysHere(t *testing.T) {
	d := works(t)
	c := d.Begin([]byte("command"))
	d.Hear(&messages.Results{
		Incarnation: 1, Origin: 3, Applied: 6, Term: 1, Sequences: []uint64{1}, Indexes: []uint64{6},
		Values: [][]byte{[]byte("another's")}, Outcomes: []messages.Outcome{messages.Outcome_OUTCOME_APPLIED},
	})
	d.Hear(&messages.Results{
		Incarnation: 1, Origin: 3, Applied: 6, Term: 1, Sequences: []uint64{1}, Indexes: []uint64{0}, Values: [][]byte{nil},
		Outcomes: []messages.Outcome{messages.Outcome_OUTCOME_UNKNOWN},
	})
	if c.Poll() {
		t.Fatalf("answered with another origin's result: %+v", c.Outcome)
	}
	d.applied(7, 1)
	if !c.Poll() || string(c.Value) != "value" || c.Index != 7 {
		t.Fatalf("answered %+v", c.Outcome)
	}
}

// A read whose point is known waits for the state machine that it will look at: not for one that is no more.
func TestAFormerLifesProgressReleasesNoRead(t *testing.T) {
	d := works(t)
	c := d.BeginRead(ReadIndex)
	ask := d.said[len(d.said)-1].(*messages.AskRead)
	d.Hear(&messages.ReadPoint{Incarnation: 1, Id: ask.Id, Index: 8, Term: 1})
	d.Hear(&messages.LeaderChanged{Incarnation: 2, Term: 1})
	d.applied(8)
	if c.Poll() {
		t.Fatal("released by what a former life had applied")
	}
	d.Hear(&messages.Results{Incarnation: 2, Applied: 8, Term: 1})
	if !c.Poll() || c.Err != nil {
		t.Fatalf("answered %+v", c.Outcome)
	}
}

func TestANewLeaderIsAskedAtOnceForTheReadPointThatIsWaitedFor(t *testing.T) {
	d := works(t)
	d.BeginRead(ReadIndex)
	ask := d.said[len(d.said)-1].(*messages.AskRead)
	d.Hear(&messages.LeaderChanged{Incarnation: 1, Term: 2})
	d.said = nil
	d.Hear(&messages.LeaderChanged{Incarnation: 1, Term: 2, Leader: 3})
	if len(d.said) != 1 || d.said[0].(*messages.AskRead).Id != ask.Id {
		t.Fatalf("said %v", d.said)
	}
}

func TestLocalReadsWaitForTheReplayOfANewLife(t *testing.T) {
	d := works(t)
	d.Hear(&messages.LeaderChanged{Incarnation: 2, Term: 1})
	c := d.BeginRead(ReadLocal)
	if c.Poll() {
		t.Fatal("served during the replay")
	}
	if d.Hear(&messages.Serving{Incarnation: 2, Applied: 4}); !c.Poll() || c.Index != 4 {
		t.Fatalf("%+v", c.Outcome)
	}
}

func TestWhatWaitsLongIsSaidAgainAndTheEndIsTold(t *testing.T) {
	d := works(t)
	write, read := d.Begin([]byte("x")), d.BeginRead(ReadIndex)
	d.now = 600 * time.Millisecond
	if d.Retry(time.Second); len(d.said) != 3 || len(d.proposed()) != 1 {
		t.Errorf("after 600 ms, of patience for 1 s: said %v", d.said)
	}
	d.now = 1100 * time.Millisecond
	if d.Retry(time.Second); len(d.proposed()) != 2 {
		t.Errorf("after 1.1 s: said %v", d.said)
	}
	end := errors.New("stopped")
	d.Close(end)
	for _, c := range []*Call{write, read, d.Begin([]byte("y")), d.BeginRead(ReadLocal), d.BeginRead(ReadIndex)} {
		if !c.Poll() || !errors.Is(c.Err, end) {
			t.Errorf("of a closed handle: %+v", c.Outcome)
		}
	}
}

// A leader that hands over refuses commands, and nobody tells that it leads on after all.
func TestWhatWasRefusedForTheMomentIsSaidAgainAtTheNextRetry(t *testing.T) {
	d := works(t)
	d.Begin([]byte("refused"))
	d.Begin([]byte("waits"))
	refuse := func(reason messages.Refusal) {
		d.Hear(&messages.ProposalsRefused{Origins: []uint64{7}, Sequences: []uint64{1}, Reason: reason})
	}
	for i, reason := range []messages.Refusal{messages.Refusal_REFUSAL_TRANSFERRING, messages.Refusal_REFUSAL_NO_LEADER} {
		refuse(reason)
		for range 2 { // the second has nothing to say: it waits for an answer then
			d.now += 100 * time.Millisecond
			d.Retry(time.Second)
		}
		if said := d.proposed(); len(said) != 2+i+1 || string(said[2+i].Payload) != "refused" {
			t.Fatalf("refused as %v and retried twice: said %+v", reason, said)
		}
	}
	refuse(messages.Refusal_REFUSAL_OVERLOADED) // the third copy; of the others, nobody knows
	if d.Retry(time.Second); len(d.proposed()) != 4 {
		t.Errorf("an overloaded leader is asked again at once: said %+v", d.proposed())
	}
}

func TestAnOriginThatWasRefusedForTheMomentIsAskedForAtTheNextRetry(t *testing.T) {
	d := newDesk(t)
	d.Hear(&messages.LeaderChanged{Incarnation: 1, Term: 1, Leader: 2})
	for _, wants := range []int{1, 2, 2} {
		if asked := d.proposed(); len(asked) != wants || asked[wants-1].Kind != raft.KindOpenOrigin {
			t.Fatalf("said %+v, not %d requests for an origin", asked, wants)
		}
		if wants == 1 {
			d.Hear(&messages.ProposalsRefused{Origins: []uint64{0}, Sequences: []uint64{0}, Reason: messages.Refusal_REFUSAL_TRANSFERRING})
		}
		d.now += 100 * time.Millisecond
		d.Retry(time.Second)
	}
}

// What an actor says last may come after the end.
func TestAfterTheEndNothingIsOpenedAndNobodyWaits(t *testing.T) {
	over := errors.New("over")
	d := newDesk(t)
	waits := d.Begin([]byte("x"))
	d.Close(over)
	d.Close(errors.New("once more"))
	d.Hear(&messages.OriginOpened{Incarnation: 1, Nonce: []byte("nonce"), Origin: 7})
	late, read := d.Begin([]byte("x")), d.BeginRead(ReadIndex)
	for _, c := range []*Call{waits, late, read} {
		if !c.Poll() || !errors.Is(c.Err, over) {
			t.Errorf("after the end: %v", c.Err)
		}
	}
}
