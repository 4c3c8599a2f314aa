package live

import (
	"sync"
	"sync/atomic"

	"github.com/asynkron/protoactor-go/actor"
)

// mailbox is an actor's queue together with the loop that empties it.
//
// Why not the library's own: a PID is published before its mailbox knows its invoker, so that a message in that instant
// panics its sender or arrives before Started; and it starts a goroutine for every wake-up.
//
// How it works: senders append to a slice under a lock held for an append; the owner (one goroutine, for the actor's whole
// life) takes everything that has gathered in one swap and handles it without locking. The two slices change places, so
// that a mailbox in balance allocates nothing. A sender wakes the owner only when it is asleep.
//
// Invariants:
//   - nothing is handled before Started, which is the first message of an actor's life;
//   - system messages go before user messages, also before those of a batch already taken;
//   - messages of one sender are handled in the order they were sent;
//   - while suspended no user message is handled; none is lost by a restart but the one in hand;
//   - once the actor has stopped its goroutine ends, and what is sent after that is dropped.
//
// It is unbounded on purpose: senders hold credits (windows, limits on what is pending), and a mailbox that blocks or drops
// would break the promise that an actor never waits in a send.
type mailbox struct {
	invoker    actor.MessageInvoker
	dispatcher actor.Dispatcher
	host       mailboxHost
	self       *actor.PID
	process    actor.Process // what the registry holds for self while the actor lives

	mu           sync.Mutex
	userQueue    []any  // guarded by mu
	systemQueue  []any  // guarded by mu
	posted       uint64 // guarded by mu; user messages ever
	scheduled    bool   // guarded by mu; Started was posted, the owner runs
	ownerWaiting bool   // guarded by mu; the owner waits for a token in wake
	suspended    bool   // guarded by mu; written by the owner only
	closed       bool   // guarded by mu; written by the owner only

	systemPending atomic.Bool   // system is not empty: the owner looks between two user messages
	wake          chan struct{} // holds at most one token: a token is put only by who clears asleep

	// The owner's alone.
	userBatch   []any // user messages in hand, from next on
	userNext    int
	systemBatch []any
	systemNext  int

	handled atomic.Uint64 // user messages; published when a batch is done
	busy    busyMeter
}

// maxReusedCapacity is the capacity above which a slice is given back to the collector instead of being used again: a burst must
// not cost its memory for ever.
const maxReusedCapacity = 8192

// host is what a mailbox needs of its environment.
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

func (m *mailbox) Start() {}

// UserMessageCount is how many user messages wait; what is in the batch in hand counts until the batch is done.
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
	rouse := m.ownerWaiting && !m.suspended
	if rouse {
		m.ownerWaiting = false
	}
	m.mu.Unlock()
	if rouse {
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
	if _, birth := message.(*actor.Started); birth && !m.scheduled {
		// Whatever was sent since the PID was published waits behind it.
		m.systemQueue = append([]any{message}, m.systemQueue...)
		m.scheduled = true
		m.systemPending.Store(true)
		m.mu.Unlock()
		m.dispatcher.Schedule(m.run)
		return
	}
	m.systemQueue = append(m.systemQueue, message)
	m.systemPending.Store(true)
	rouse := m.ownerWaiting
	m.ownerWaiting = false
	m.mu.Unlock()
	if rouse {
		m.wake <- struct{}{}
	}
}

// live is the owner's goroutine.
func (m *mailbox) run() {
	m.host.mailboxStarted(m)
	m.busy.start()
	for m.waitForMessages() {
		m.processBatches()
	}
	m.busy.stop()
	m.host.mailboxStopped(m)
}

// gather waits until there is something to handle and takes it; false when the actor has stopped.
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
		return true // left over by a panic
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
		return true // left over: a system message came between, or a panic
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

// handle works on what was taken until it is done, a system message is waiting, or the actor panics.
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

func (m *mailbox) setSuspended(yes bool) {
	m.mu.Lock()
	m.suspended = yes
	m.mu.Unlock()
}

// failed hands a panic to supervision. The library answers by suspending this mailbox until supervision has decided.
func (m *mailbox) escalatePanic(reason, message any) {
	m.host.logPanic(m.self, reason, message)
	if !m.unregistered() {
		m.invoker.EscalateFailure(reason, message)
		return
	}
	// It panicked in its last message, after it had left the registry: nobody could restart or stop it any more, and the
	// library has not told its parent, which would wait for this child for ever.
	if child, ok := m.invoker.(interface{ Parent() *actor.PID }); ok && child.Parent() != nil {
		m.host.sendSystemMessage(child.Parent(), &actor.Terminated{Who: m.self})
	}
	m.close()
}

// gone tells whether the actor has left the registry, which is the last thing that stopping does. Another one may have
// taken the name at once.
func (m *mailbox) unregistered() bool {
	if m.process == nil {
		return false
	}
	now, ok := m.host.lookupProcess(m.self.Id)
	return !ok || now != m.process
}

// end closes the mailbox for good. Who asked to watch meanwhile is answered.
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

// replyAfterStop is for system messages to an actor that has stopped. Only Watch wants an answer, and the library gives it from
// the actor's state alone, which does not change any more: so it may be asked from any goroutine.
func (m *mailbox) replyAfterStop(message any) {
	if watch, ok := message.(*actor.Watch); ok && m.self != nil {
		m.host.sendSystemMessage(watch.Watcher, &actor.Terminated{Who: m.self})
	}
}
