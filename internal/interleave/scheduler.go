// Package interleave runs concurrent code on one goroutine, in an order that its caller chooses.
//
// Code with goroutines, locks, channels and timers behaves differently in each run, so a test sees
// few of its orders and cannot repeat one. Code that takes these from a Scheduler runs as it is in
// production while its Scheduler is nil. With a Scheduler, each of its goroutines is a task on a
// coroutine. One task at a time runs, up to a lock, a wait or a yield; the scheduler then chooses
// which one goes on. So the simulator runs the watch hub and its streams in virtual time, and tests
// try many orders of their steps.
package interleave

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"runtime/debug"
	"strings"
	"time"
)

// Scheduler runs tasks. All methods are called on one goroutine: by tasks, or by the code that
// calls Step, which is called the outside. A nil Scheduler stands for goroutines and real time.
type Scheduler struct {
	pick     func(n int) int
	after    func(time.Duration, func())
	tasks    []*task
	current  *task // nil: the outside runs
	stopping bool
}

type task struct {
	name  string
	next  func() (struct{}, bool)
	stop  func()
	yield func(struct{}) bool
	ready func() bool // nil: it can go on
}

// New returns a scheduler. pick chooses one of n things that can happen; after calls a function on
// the outside when a virtual duration has passed.
func New(pick func(n int) int, after func(time.Duration, func())) *Scheduler {
	return &Scheduler{pick: pick, after: after}
}

// taskStopped unwinds a task that Stop ends.
type taskStopped struct{}

// Go runs f as a task, or as a goroutine if s is nil. The name is for error messages.
func (s *Scheduler) Go(name string, f func()) {
	if s == nil {
		go f()
		return
	}
	if s.stopping {
		return
	}
	t := &task{name: name}
	t.next, t.stop = iter.Pull(func(yield func(struct{}) bool) {
		t.yield = yield
		defer func() {
			// Whatever a task does while it is unwound has no effect. Another panic continues where the task
			// was resumed, so it needs the stack of the task.
			if r := recover(); r != nil && !s.stopping {
				panic(fmt.Sprintf("task %s: %v\n%s", name, r, debug.Stack()))
			}
		}()
		f()
	})
	s.tasks = append(s.tasks, t)
}

// Step runs one task up to its next point. It reports false if no task can go on.
func (s *Scheduler) Step() bool {
	runnable := s.runnable()
	if len(runnable) == 0 {
		return false
	}
	s.run(runnable[s.pick(len(runnable))])
	return true
}

// Runnable reports whether a task can go on.
func (s *Scheduler) Runnable() bool {
	for _, t := range s.tasks {
		if t.ready == nil || t.ready() {
			return true
		}
	}
	return false
}

func (s *Scheduler) runnable() (all []*task) {
	for _, t := range s.tasks {
		if t.ready == nil || t.ready() {
			all = append(all, t)
		}
	}
	return all
}

func (s *Scheduler) run(t *task) {
	before := s.current
	s.current, t.ready = t, nil
	_, more := t.next()
	s.current = before
	if more {
		return
	}
	for i := range s.tasks {
		if s.tasks[i] == t {
			s.tasks = append(s.tasks[:i], s.tasks[i+1:]...)
			return
		}
	}
}

// Waiting names the tasks that have not ended.
func (s *Scheduler) Waiting() string {
	names := make([]string, len(s.tasks))
	for i, t := range s.tasks {
		names[i] = t.name
	}
	return strings.Join(names, ", ")
}

// Stop ends all tasks where they are, as the end of a process does. Their deferred calls run, but
// locks and waits have no effect any more.
func (s *Scheduler) Stop() {
	s.stopping = true
	for _, t := range s.tasks {
		s.current = t
		t.stop()
	}
	s.tasks, s.current = nil, nil
}

// Yield lets other tasks run. It has no effect on the outside or if s is nil.
func (s *Scheduler) Yield() {
	if s != nil && s.current != nil && !s.stopping {
		s.pause(nil)
	}
}

// pause ends the current task's step. Its next one is when ready reports true.
func (s *Scheduler) pause(ready func() bool) {
	t := s.current
	t.ready = ready
	if !t.yield(struct{}{}) {
		panic(taskStopped{})
	}
}

// WaitFor returns when ready reports true. The outside runs tasks meanwhile. s must not be nil.
func (s *Scheduler) WaitFor(ready func() bool) {
	switch {
	case s.stopping:
	case s.current != nil:
		s.pause(ready)
	default:
		for !ready() {
			if !s.Step() {
				panic(fmt.Sprintf("interleave: deadlock: the outside waits, and so do %s", s.Waiting()))
			}
		}
	}
}

// Select returns the index of a channel that is closed or had a token, which it takes. A nil
// channel is never ready.
func (s *Scheduler) Select(a, b, c, d <-chan struct{}) int {
	if s != nil {
		return s.selectScheduled(a, b, c, d)
	}
	select {
	case <-a:
		return 0
	case <-b:
		return 1
	case <-c:
		return 2
	case <-d:
		return 3
	}
}

// Receive receives from a channel, which is buffered, unless ended is closed before.
func Receive[T any](s *Scheduler, from <-chan T, ended <-chan struct{}) (v T, received bool) {
	if s != nil {
		at := s.WaitForOne(2, func(i int) bool {
			if i == 0 {
				return len(from) > 0
			}
			return Ready(ended)
		})
		if at != 0 {
			return v, false
		}
		return <-from, true
	}
	select {
	case v = <-from:
		return v, true
	case <-ended:
		return v, false
	}
}

func (s *Scheduler) selectScheduled(all ...<-chan struct{}) int {
	at := s.WaitForOne(len(all), func(i int) bool { return Ready(all[i]) })
	if at < 0 {
		panic(taskStopped{})
	}
	<-all[at]
	return at
}

// WaitForOne returns the index of one of n things that is ready; -1 while the scheduler stops.
func (s *Scheduler) WaitForOne(n int, ready func(i int) bool) int {
	s.WaitFor(func() bool {
		for i := range n {
			if ready(i) {
				return true
			}
		}
		return false
	})
	var found []int
	for i := range n {
		if ready(i) {
			found = append(found, i)
		}
	}
	if len(found) == 0 {
		return -1
	}
	return found[s.pick(len(found))]
}

// Ready reports whether a receive from the channel would return at once. The channel must be
// closed, buffered or nil.
func Ready[T any](c <-chan T) bool {
	if len(c) > 0 {
		return true
	}
	select {
	case _, open := <-c:
		return !open
	default:
		return false
	}
}

// After is time.After.
func (s *Scheduler) After(d time.Duration) <-chan time.Time {
	if s == nil {
		return time.After(d)
	}
	c := make(chan time.Time, 1)
	s.after(d, func() { c <- time.Time{} })
	return c
}

// Random returns a random duration below n.
func (s *Scheduler) Random(n time.Duration) time.Duration {
	if s == nil {
		return rand.N(n)
	}
	const steps = 1000
	return n / steps * time.Duration(s.pick(steps))
}

// AfterFunc is time.AfterFunc; stop keeps f from being called. f is called as a task.
func (s *Scheduler) AfterFunc(d time.Duration, f func()) (stop func()) {
	if s == nil {
		t := time.AfterFunc(d, f)
		return func() { t.Stop() }
	}
	stopped := false
	s.after(d, func() {
		if !stopped {
			s.Go("timer", f)
		}
	})
	return func() { stopped = true }
}

// Sleep waits for a duration, at most until the context ends.
func (s *Scheduler) Sleep(ctx context.Context, d time.Duration) error {
	passed := s.After(d)
	if s != nil {
		s.WaitFor(func() bool { return len(passed) > 0 || ctx.Err() != nil })
		return ctx.Err()
	}
	select {
	case <-passed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// WithTimeout is context.WithTimeout.
func (s *Scheduler) WithTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if s == nil {
		return context.WithTimeout(ctx, d)
	}
	inner, cancel := context.WithCancel(ctx)
	c := &timeoutContext{Context: inner}
	s.after(d, func() {
		if inner.Err() == nil {
			c.expired = true
			cancel()
		}
	})
	return c, cancel
}

// timeoutContext is a context whose time is virtual.
type timeoutContext struct {
	context.Context
	expired bool
}

// Err implements context.Context.
func (c *timeoutContext) Err() error {
	if c.expired {
		return context.DeadlineExceeded
	}
	return c.Context.Err()
}
