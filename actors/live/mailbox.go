package live

import (
	"sync"
	"sync/atomic"

	"github.com/asynkron/protoactor-go/actor"
)

// mailbox is the queue of one actor, and the loop that processes it.
//
// Proto.Actor's own mailbox is not used for two reasons. It starts a goroutine for each wake-up.
// And the registry publishes a PID before the mailbox knows its invoker: a message that arrives in
// between makes the sender panic, or the actor receives it before Started.
//
// A sender appends the message to a slice, under a lock that is held for the append only. The owner
// is one goroutine, from the actor's start to its end. It takes the whole slice in one swap and
// processes it without the lock, while senders fill the other slice:
//
//	senders → userQueue    ⇄ (swap, under mu)  userBatch   → invoker
//	          systemQueue  ⇄                   systemBatch →
//
// The two slices change places at each swap, so a mailbox whose owner keeps up allocates nothing.
// When both queues are empty, the owner sets ownerWaiting and waits for a token in the channel
// wake. The goroutine that clears ownerWaiting sends the token, so the channel never holds more
// than one, and a sender pays for a wake-up only if the owner waits.
//
// Invariants:
//   - Started is the first message that the actor handles;
//   - system messages are handled before user messages, including those of a batch in progress;
//   - messages of one sender are handled in the order in which they were sent;
//   - a suspended mailbox handles no user message; a restart loses the message in progress only;
//   - after the actor has stopped, its goroutine ends and further messages are dropped.
//
// The queues have no bound. Senders bound what they send, by credits and by limits on pending
// requests (docs/limits.md). A mailbox that blocks or drops would break the rule that an actor
// never blocks in a send.
type mailbox struct {
	invoker    actor.MessageInvoker
	dispatcher actor.Dispatcher
	host       mailboxHost
	self       *actor.PID
	process    actor.Process // the registry's entry for self until the actor has stopped

	mu           sync.Mutex
	userQueue    []any  // guarded by mu
	systemQueue  []any  // guarded by mu
	posted       uint64 // guarded by mu; user messages since the spawn
	scheduled    bool   // guarded by mu; Started was posted and the owner runs
	ownerWaiting bool   // guarded by mu; the owner waits for a token in wake
	suspended    bool   // guarded by mu; written by the owner only
	closed       bool   // guarded by mu; written by the owner only

	systemPending atomic.Bool   // systemQueue is not empty; the owner reads it between user messages
	wake          chan struct{} // capacity 1

	// The owner alone uses the following fields.
	userBatch   []any // user messages in progress, from userNext on
	userNext    int
	systemBatch []any
	systemNext  int

	handled atomic.Uint64 // user messages; published when a batch is done
	busy    busyMeter
}

// maxReusedCapacity is the capacity above which a slice is not reused, so that a burst does not
// keep its memory.
const maxReusedCapacity = 8192

// mailboxHost is what a mailbox uses of its environment.
type mailboxHost interface {
	mailboxStarted(*mailbox)
	mailboxStopped(*mailbox)
	lookupProcess(id string) (actor.Process, bool)
	sendSystemMessage(pid *actor.PID, systemMessage any)
	logPanic(self *actor.PID, reason, message any)
}

func newMailbox(h mailboxHost) *mailbox {
	return &mailbox{host: h, wake: make(chan struct{}, 1)}
}

// RegisterHandlers is called once, after the PID was published and before Started is posted.
func (m *mailbox) RegisterHandlers(invoker actor.MessageInvoker, dispatcher actor.Dispatcher) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.invoker, m.dispatcher = invoker, dispatcher
	if named, ok := invoker.(interface{ Self() *actor.PID }); ok {
		m.self = named.Self()
		m.process, _ = m.host.lookupProcess(m.self.Id)
	}
}

// Start does nothing: the owner starts when Started is posted.
func (m *mailbox) Start() {}

// UserMessageCount returns how many user messages wait. A message of the batch in progress counts
// until the batch is done.
func (m *mailbox) UserMessageCount() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return int(m.posted - m.handled.Load())
}

func (m *mailbox) PostUserMessage(message any) {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return
	}
	m.userQueue = append(m.userQueue, message)
	m.posted++
	wakeOwner := m.ownerWaiting && !m.suspended
	if wakeOwner {
		m.ownerWaiting = false
	}
	m.mu.Unlock()
	if wakeOwner {
		m.wake <- struct{}{}
	}
}

func (m *mailbox) PostSystemMessage(message any) {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		m.replyAfterStop(message)
		return
	}
	if _, ok := message.(*actor.Started); ok && !m.scheduled {
		// Messages that were sent since the PID was published are handled after Started.
		m.systemQueue = append([]any{message}, m.systemQueue...)
		m.scheduled = true
		m.systemPending.Store(true)
		m.mu.Unlock()
		m.dispatcher.Schedule(m.run)
		return
	}
	m.systemQueue = append(m.systemQueue, message)
	m.systemPending.Store(true)
	wakeOwner := m.ownerWaiting
	m.ownerWaiting = false
	m.mu.Unlock()
	if wakeOwner {
		m.wake <- struct{}{}
	}
}

// run is the owner's goroutine.
func (m *mailbox) run() {
	m.host.mailboxStarted(m)
	m.busy.start()
	for m.waitForMessages() {
		m.processBatches()
	}
	m.busy.stop()
	m.host.mailboxStopped(m)
}

// waitForMessages waits until a batch is available and takes it; it returns false when the actor
// has stopped.
func (m *mailbox) waitForMessages() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for {
		if m.closed {
			return false
		}
		if m.takeSystem() || m.takeUser() {
			return true
		}
		m.ownerWaiting = true
		m.mu.Unlock()
		m.busy.stop()
		<-m.wake
		m.busy.start()
		m.mu.Lock()
	}
}

func (m *mailbox) takeSystem() bool {
	if m.systemNext < len(m.systemBatch) {
		return true // left by a panic
	}
	if len(m.systemQueue) == 0 {
		return false
	}
	m.systemBatch, m.systemQueue = m.systemQueue, m.systemBatch[:0]
	m.systemNext = 0
	m.systemPending.Store(false)
	return true
}

func (m *mailbox) takeUser() bool {
	if m.suspended {
		return false
	}
	if m.userNext < len(m.userBatch) {
		return true // left by a panic, or when a system message arrived
	}
	if len(m.userQueue) == 0 {
		return false
	}
	spare := m.userBatch[:0]
	if cap(spare) > maxReusedCapacity {
		spare = nil
	}
	m.userBatch, m.userQueue = m.userQueue, spare
	m.userNext = 0
	return true
}

// processBatches handles the batches until they are done, a system message arrives, or the actor
// panics.
func (m *mailbox) processBatches() {
	var message any
	defer func() {
		if reason := recover(); reason != nil {
			m.escalatePanic(reason, message)
		}
	}()
	for m.systemNext < len(m.systemBatch) {
		message = m.systemBatch[m.systemNext]
		m.systemBatch[m.systemNext] = nil
		m.systemNext++
		m.processSystem(message)
	}
	done := m.userNext
	defer func() { m.handled.Add(uint64(m.userNext - done)) }()
	if m.suspended {
		return
	}
	for m.userNext < len(m.userBatch) && !m.systemPending.Load() {
		message = m.userBatch[m.userNext]
		m.userBatch[m.userNext] = nil
		m.userNext++
		m.invoker.InvokeUserMessage(message)
	}
}

func (m *mailbox) processSystem(message any) {
	switch message.(type) {
	case *actor.SuspendMailbox:
		m.setSuspended(true)
	case *actor.ResumeMailbox:
		m.setSuspended(false)
	case *actor.Stop, *actor.Terminated:
		m.invoker.InvokeSystemMessage(message)
		if m.unregistered() {
			m.close()
		}
	default:
		m.invoker.InvokeSystemMessage(message)
	}
}

func (m *mailbox) setSuspended(suspended bool) {
	m.mu.Lock()
	m.suspended = suspended
	m.mu.Unlock()
}

// escalatePanic passes a panic to supervision. Proto.Actor suspends this mailbox until the
// supervisor has decided.
func (m *mailbox) escalatePanic(reason, message any) {
	m.host.logPanic(m.self, reason, message)
	if !m.unregistered() {
		m.invoker.EscalateFailure(reason, message)
		return
	}
	// The actor panicked in its last message, after it had left the registry. It can be neither
	// restarted nor stopped any more, and Proto.Actor has not notified its parent, which would wait
	// for ever.
	if child, ok := m.invoker.(interface{ Parent() *actor.PID }); ok && child.Parent() != nil {
		m.host.sendSystemMessage(child.Parent(), &actor.Terminated{Who: m.self})
	}
	m.close()
}

// unregistered returns whether the actor has left the registry, which is the last step of its stop.
// Another actor may have its name already.
func (m *mailbox) unregistered() bool {
	if m.process == nil {
		return false
	}
	current, ok := m.host.lookupProcess(m.self.Id)
	return !ok || current != m.process
}

// close drops all user messages and answers the Watch requests among the system messages.
func (m *mailbox) close() {
	m.mu.Lock()
	m.closed = true
	late := append(m.systemBatch[m.systemNext:], m.systemQueue...)
	m.userQueue, m.systemQueue, m.userBatch, m.systemBatch = nil, nil, nil, nil
	m.userNext, m.systemNext = 0, 0
	m.handled.Store(m.posted)
	m.mu.Unlock()
	for _, message := range late {
		m.replyAfterStop(message)
	}
}

// replyAfterStop handles a system message to a stopped actor, on any goroutine. Only Watch has a
// response: Terminated.
func (m *mailbox) replyAfterStop(message any) {
	if watch, ok := message.(*actor.Watch); ok && m.self != nil {
		m.host.sendSystemMessage(watch.Watcher, &actor.Terminated{Who: m.self})
	}
}
