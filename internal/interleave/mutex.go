package interleave

import "sync"

// Mutex is a sync.Mutex. With a Scheduler, a task that locks it lets others run before, and one
// that finds it locked waits. The zero value is an unlocked mutex of goroutines.
type Mutex struct {
	mu        sync.Mutex
	scheduler *Scheduler
	held      bool // only with a scheduler
}

// Schedule makes the mutex one of tasks. It is called before the mutex is used.
func (m *Mutex) Schedule(s *Scheduler) { m.scheduler = s }

// Lock locks the mutex.
func (m *Mutex) Lock() {
	if m.scheduler != nil {
		m.lockScheduled()
		return
	}
	m.mu.Lock()
}

func (m *Mutex) lockScheduled() {
	m.scheduler.Yield()
	if m.held {
		m.scheduler.WaitFor(func() bool { return !m.held })
	}
	m.held = true
}

// Unlock unlocks the mutex.
func (m *Mutex) Unlock() {
	if m.scheduler == nil {
		m.mu.Unlock()
		return
	}
	if !m.held && !m.scheduler.stopping {
		panic("interleave: unlock of an unlocked mutex")
	}
	m.held = false
}

// Cond is a sync.Cond of a Mutex.
type Cond struct {
	L          *Mutex
	cond       sync.Cond
	broadcasts uint64
}

// Init sets the mutex. It is called before the Cond is used.
func (c *Cond) Init(m *Mutex) { c.L, c.cond.L = m, m }

// Wait unlocks the mutex, waits for a Broadcast and locks it again.
func (c *Cond) Wait() {
	s := c.L.scheduler
	if s == nil {
		c.cond.Wait()
		return
	}
	seen := c.broadcasts
	c.L.Unlock()
	s.WaitFor(func() bool { return c.broadcasts != seen })
	c.L.Lock()
}

// Broadcast wakes all that wait. The mutex is held.
func (c *Cond) Broadcast() {
	c.broadcasts++
	c.cond.Broadcast()
}
