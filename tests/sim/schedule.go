package sim

import (
	"container/heap"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-raft/troupe/actors"
)

// event is something that will happen. Of a member: only if that is still in the life in which it was planned.
type event struct {
	at     time.Duration
	number uint64 // breaks ties, so that the order depends on the seed alone
	member *member
	life   int
	run    func()
}

type schedule []*event

func (s schedule) Len() int { return len(s) }
func (s schedule) Less(i, j int) bool {
	return s[i].at < s[j].at || s[i].at == s[j].at && s[i].number < s[j].number
}
func (s schedule) Swap(i, j int) { s[i], s[j] = s[j], s[i] }
func (s *schedule) Push(x any)   { *s = append(*s, x.(*event)) }
func (s *schedule) Pop() any {
	last := len(*s) - 1
	e := (*s)[last]
	(*s)[last] = nil
	*s = (*s)[:last]
	return e
}

// after plans an event of the world's own.
func (w *World) after(d time.Duration, run func()) { w.plan(&event{run: run}, d) }

// after plans an event of this life of a member.
func (m *member) after(d time.Duration, run func()) {
	m.world.plan(&event{member: m, life: m.life, run: run}, d)
}

func (w *World) plan(e *event, d time.Duration) {
	w.planned++
	e.at, e.number = w.now+d, w.planned
	heap.Push(&w.schedule, e)
}

// step lets the next event happen.
func (w *World) step() {
	if len(w.schedule) == 0 { // nobody is left
		w.now += time.Second
		return
	}
	e := heap.Pop(&w.schedule).(*event)
	w.now = max(w.now, e.at)
	if e.member == nil || e.life == e.member.life {
		w.steps++
		e.run()
		if w.steps%fullEvery == 0 {
			w.ghost.compare(false)
		}
	}
}

func (w *World) between(from, to time.Duration) time.Duration {
	return from + time.Duration(w.random.Int64N(int64(to-from)))
}

func (w *World) chance(p float64) bool { return p > 0 && w.random.Float64() < p }

// mailbox hands its actor one message a step, system messages first; between two steps anything else may happen.
type mailbox struct {
	member    *member
	life      int
	self      *actor.PID
	name      string // below the node: "", "log", "log/reader", "machine", "peer-2"
	invoker   actor.MessageInvoker
	process   actor.Process // as the system knows the actor while it has not stopped
	system    []any
	user      []any
	planned   bool
	suspended bool
	over      bool // the actor has stopped: what stands here yet, nobody handles, and nobody fails at
	crash     crash
}

// crash is what is to happen with the actor's next message.
type crash int

const (
	noCrash crash = iota
	crashBefore
	crashAfter
)

func (b *mailbox) RegisterHandlers(invoker actor.MessageInvoker, _ actor.Dispatcher) {
	b.invoker = invoker
	b.self = invoker.(interface{ Self() *actor.PID }).Self()
	if len(b.self.Id) > len(actors.NodePath) {
		b.name = b.self.Id[len(actors.NodePath)+1:]
	}
	b.process, _ = b.member.system.ProcessRegistry.GetLocal(b.self.Id)
	b.member.mailboxes = append(b.member.mailboxes, b)
}

// lives tells whether the actor has not stopped. What still stands in its mailbox then is lost, and cannot make it fail.
func (b *mailbox) lives() bool {
	process, known := b.member.system.ProcessRegistry.GetLocal(b.self.Id)
	return known && process == b.process
}

func (b *mailbox) Start() {}

func (b *mailbox) UserMessageCount() int { return len(b.user) }

func (b *mailbox) PostUserMessage(message any) {
	if b.life != b.member.life {
		return
	}
	if b.member.disk.forgot && b.member.world.forgotten(message) {
		return
	}
	b.member.world.ghost.posted(b, message)
	b.member.world.chronicle.posted(b, message)
	b.user = append(b.user, message)
	b.awake()
}

// PostSystemMessage drops what comes for an actor of a life that has ended: it would stop by name what lives in the next one,
// or in the member that uses the same actor system now.
func (b *mailbox) PostSystemMessage(message any) {
	if b.life != b.member.life {
		return
	}
	b.system = append(b.system, message)
	b.awake()
}

func (b *mailbox) awake() {
	if b.planned || b.life != b.member.life || len(b.system) == 0 && (b.suspended || len(b.user) == 0) {
		return
	}
	b.planned = true
	b.member.after(b.member.world.profile.workTime(b), b.step)
}

func (b *mailbox) step() {
	m := b.member
	if wait := b.held(); wait > 0 {
		m.after(wait, b.step)
		return
	}
	var message any
	m.world.current = b
	defer func() {
		if reason := recover(); reason != nil {
			m.world.chronicle.panicked(b, message)
			m.world.panicked(b, reason, message)
			if m.dying == nil {
				b.invoker.EscalateFailure(reason, message)
			}
		}
		b.planned, m.world.lastWords = false, false
		b.awake()
		b.ended()
	}()
	if len(b.system) > 0 {
		message = b.system[0]
		b.system = b.system[1:]
		b.handleSystem(message)
		return
	}
	if b.suspended || len(b.user) == 0 {
		return
	}
	if b.over {
		b.user = nil
		return
	}
	message = b.user[0]
	b.user[0] = nil
	b.user = b.user[1:]
	m.world.counts.Handled++
	m.world.chronicle.handled(b, message)
	b.handleUser(message)
}

// held is how long the actor must wait because its process stands still, or its disk does.
func (b *mailbox) held() time.Duration {
	until := b.member.pausedUntil
	if b.usesDisk() {
		until = max(until, b.member.disk.stalledUntil)
	}
	return until - b.member.world.now
}

func (b *mailbox) usesDisk() bool {
	return b.name == actors.LogStoreName || b.name == actors.LogStoreName+"/"+actors.LogReaderName
}

// ended looks whether this message was the last of the node, or the last before its power failed.
func (b *mailbox) ended() {
	m := b.member
	if m.dying != nil {
		m.bury()
		return
	}
	if b.life != m.life || b.self.Id != actors.SupervisorName {
		return
	}
	if m.tree.Stopped() {
		m.stopped(m.tree.Err())
	}
}

func (b *mailbox) handleSystem(message any) {
	counts := &b.member.world.counts
	switch message.(type) {
	case *actor.SuspendMailbox:
		b.suspended = true
		return
	case *actor.ResumeMailbox:
		b.suspended = false
		return
	case *actor.Started:
		b.handle(message, b.member.springStart(b))
		return
	case *actor.Restart:
		if b.name == "" {
			counts.SubtreeRestarts++
		} else {
			counts.ActorRestarts++
		}
	}
	b.member.world.lastWords = true
	b.invoker.InvokeSystemMessage(message)
}

func (b *mailbox) handleUser(message any) {
	due := b.crash
	b.crash = noCrash
	if len(b.member.traps) > 0 {
		if when, cut := b.member.spring(b, message); cut != nil {
			b.member.after(0, cut)
			if when == crashBefore {
				return
			}
		} else if when != noCrash {
			due = when
		}
	}
	if due != noCrash && !b.lives() {
		due = noCrash
	}
	if due != crashBefore {
		b.member.world.ghost.handling(b, message)
	}
	b.handle(message, due)
}

// handle lets the actor have a message, and makes it fail before or after that.
func (b *mailbox) handle(message any, fails crash) {
	if fails == crashBefore {
		b.fail(message, crashBefore)
	}
	if _, system := message.(*actor.Started); system {
		b.invoker.InvokeSystemMessage(message)
	} else {
		b.invoker.InvokeUserMessage(message)
	}
	b.member.world.ghost.handled()
	if fails == crashAfter && b.member.dying == nil {
		b.fail(message, crashAfter)
	}
}
