package world

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
)

// mailbox gives its actor one message per step, system messages first. Between two steps anything
// else may happen.
type mailbox struct {
	member    *Member
	runNumber int
	self      *actor.PID
	path      string // of the actor below the Node: "", "log", "log/reader", "machine", "peer-0x2"
	invoker   actor.MessageInvoker
	process   actor.Process // as registered in the actor system until the actor stops
	system    []any
	user      []any
	scheduled bool
	suspended bool
	stopped   bool // the actor has stopped: its remaining messages are not handled
	nextCrash CrashTiming
}

// CrashTiming is whether and when an actor crashes at its next message.
type CrashTiming int

const (
	noCrash CrashTiming = iota
	CrashBefore
	CrashAfter
)

func (b *mailbox) RegisterHandlers(invoker actor.MessageInvoker, _ actor.Dispatcher) {
	b.invoker = invoker
	b.self = invoker.(interface{ Self() *actor.PID }).Self()
	if len(b.self.Id) > len(actors.NodePath) {
		b.path = b.self.Id[len(actors.NodePath)+1:]
	}
	b.process, _ = b.member.system.ProcessRegistry.GetLocal(b.self.Id)
	b.member.Mailboxes = append(b.member.Mailboxes, b)
}

// actorRunning reports whether the actor has not stopped. Messages of a stopped actor are lost and
// cannot make it crash.
func (b *mailbox) actorRunning() bool {
	process, known := b.member.system.ProcessRegistry.GetLocal(b.self.Id)
	return known && process == b.process
}

func (b *mailbox) Start() {}

// MemberID, ActorID, Path and Queued implement checker.Mailbox.
func (b *mailbox) MemberID() uint64 { return b.member.id }
func (b *mailbox) ActorID() string  { return b.self.Id }
func (b *mailbox) Path() string     { return b.path }
func (b *mailbox) Queued() []any    { return b.user }

func (b *mailbox) UserMessageCount() int { return len(b.user) }

func (b *mailbox) PostUserMessage(message any) {
	if b.runNumber != b.member.RunNumber {
		return
	}
	if b.member.Disk.lostSynced && b.member.world.checkForgotten(message) || b.member.NoRegistration && isRegistration(message) {
		return
	}
	b.member.world.Checker.Posted(b, message)
	if r, recovered := message.(*messages.Recovered); recovered {
		b.member.View = actors.NodeView{}
		b.member.replica.HighestRead = r.HardState.GetCommit() // nothing below it is served any more
	}
	b.member.world.events.posted(b, message)
	b.user = append(b.user, message)
	b.scheduleStep()
}

// PostSystemMessage drops messages for an actor of an earlier run: they would stop, by name, the
// actor of the present run, or one of the member that uses the same actor system now.
func (b *mailbox) PostSystemMessage(message any) {
	if b.runNumber != b.member.RunNumber {
		return
	}
	b.system = append(b.system, message)
	b.scheduleStep()
}

func (b *mailbox) scheduleStep() {
	if b.scheduled || b.runNumber != b.member.RunNumber || len(b.system) == 0 && (b.suspended || len(b.user) == 0) {
		return
	}
	b.scheduled = true
	b.member.after(b.member.world.handlingTime(b), b.step)
}

func (b *mailbox) step() {
	m := b.member
	if wait := b.waitTime(); wait > 0 {
		m.after(wait, b.step)
		return
	}
	var message any
	m.world.currentMailbox = b
	defer func() {
		if reason := recover(); reason != nil {
			m.world.events.panicked(b, message)
			m.world.panicked(b, reason, message)
			if m.imageAfterCut == nil {
				b.invoker.EscalateFailure(reason, message)
			}
		}
		b.scheduled, m.world.inSystemMessage = false, false
		b.scheduleStep()
		b.afterMessage()
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
	if b.stopped {
		b.user = nil
		return
	}
	message = b.user[0]
	b.user[0] = nil
	b.user = b.user[1:]
	m.world.Counts.Handled++
	m.world.events.handled(b, message)
	b.handleUser(message)
}

// waitTime is how long the actor must wait because its process is paused or its disk is stalled.
func (b *mailbox) waitTime() time.Duration {
	until := b.member.PausedUntil
	if b.usesDisk() {
		until = max(until, b.member.Disk.StalledUntil)
	}
	return until - b.member.world.now
}

func (b *mailbox) usesDisk() bool {
	return b.path == actors.LogStoreName || b.path == actors.LogStoreName+"/"+actors.LogReaderName
}

// syncsNext reports whether the next message makes a LogStore write and sync its batch.
func (b *mailbox) syncsNext() bool {
	if b.path != actors.LogStoreName || len(b.system) > 0 || len(b.user) == 0 {
		return false
	}
	_, message, _ := actor.UnwrapEnvelope(b.user[0])
	_, flush := message.(*messages.Flush)
	return flush
}

// afterMessage checks whether this message was the last of the node, or the last before a power
// cut.
func (b *mailbox) afterMessage() {
	m := b.member
	if m.imageAfterCut != nil {
		m.finishPowerCut()
		return
	}
	if b.runNumber != m.RunNumber || b.self.Id != actors.SupervisorName {
		return
	}
	if m.node.ActorsStopped() {
		m.finishRun()
	}
}

func (b *mailbox) handleSystem(message any) {
	counts := &b.member.world.Counts
	switch message.(type) {
	case *actor.SuspendMailbox:
		b.suspended = true
		return
	case *actor.ResumeMailbox:
		b.suspended = false
		return
	case *actor.Started:
		b.handle(message, b.member.hitStartFailpoint(b))
		return
	case *actor.Restart:
		if b.path == "" {
			counts.SubtreeRestarts++
		} else {
			counts.ActorRestarts++
		}
	}
	b.member.world.inSystemMessage = true
	b.invoker.InvokeSystemMessage(message)
}

func (b *mailbox) handleUser(message any) {
	due := b.nextCrash
	b.nextCrash = noCrash
	if len(b.member.Failpoints) > 0 {
		if when, cut := b.member.hitFailpoint(b, message); cut != nil {
			b.member.after(0, cut)
			if when == CrashBefore {
				return
			}
		} else if when != noCrash {
			due = when
		}
	}
	if due != noCrash && !b.actorRunning() {
		due = noCrash
	}
	if due != CrashBefore {
		b.member.world.Checker.Handling(b, message)
	}
	b.handle(message, due)
}

// handle gives the actor a message, and makes it crash before or after that.
func (b *mailbox) handle(message any, fails CrashTiming) {
	if fails == CrashBefore {
		b.injectPanic(message, CrashBefore)
	}
	if _, system := message.(*actor.Started); system {
		b.invoker.InvokeSystemMessage(message)
	} else {
		b.invoker.InvokeUserMessage(message)
	}
	b.member.world.Checker.Handled()
	if fails == CrashAfter && b.member.imageAfterCut == nil {
		b.injectPanic(message, CrashAfter)
	}
}
