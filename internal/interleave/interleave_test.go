package interleave

import (
	"context"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func newRandom(seed uint64) *Scheduler {
	return New(rand.New(rand.NewPCG(seed, 0)).IntN, func(time.Duration, func()) {})
}

// increment adds to a counter in two steps, as unlocked code does.
func increment(s *Scheduler, counter *int) {
	read := *counter
	s.Yield()
	*counter = read + 1
}

func TestSchedulesDifferAndAMutexExcludes(t *testing.T) {
	lost := 0
	for seed := range uint64(50) {
		s := newRandom(seed)
		var mu Mutex
		mu.Schedule(s)
		locked, unlocked := 0, 0
		for range 3 {
			s.Go("adder", func() {
				mu.Lock()
				increment(s, &locked)
				mu.Unlock()
				increment(s, &unlocked)
			})
		}
		for s.Step() {
		}
		if locked != 3 {
			t.Fatalf("seed %d: the locked counter is %d", seed, locked)
		}
		if unlocked != 3 {
			lost++
		}
	}
	if lost == 0 || lost == 50 {
		t.Errorf("in %d of 50 schedules the unlocked counter lost an increment, want some", lost)
	}
}

func TestOutsideRunsTasksUntilTheMutexIsFree(t *testing.T) {
	s := newRandom(1)
	var mu Mutex
	mu.Schedule(s)
	ended := false
	s.Go("holder", func() {
		mu.Lock()
		s.Yield()
		ended = true
		mu.Unlock()
	})
	for !mu.held {
		s.Step()
	}
	mu.Lock()
	if !ended {
		t.Error("the outside has locked a mutex that a task holds")
	}
	mu.Unlock()
	s.Go("waiter", func() { s.WaitFor(func() bool { return false }) })
	defer func() {
		if r, _ := recover().(string); !strings.Contains(r, "waiter") {
			t.Errorf("a deadlock ended with %q", r)
		}
	}()
	s.WaitFor(func() bool { return false })
}

func TestCondAndSelectWait(t *testing.T) {
	for seed := range uint64(20) {
		s := newRandom(seed)
		var mu Mutex
		var cond Cond
		mu.Schedule(s)
		cond.Init(&mu)
		token, closed, full := make(chan struct{}, 1), make(chan struct{}), false
		var order []string
		s.Go("waiter", func() {
			mu.Lock()
			for !full {
				cond.Wait()
			}
			mu.Unlock()
			order = append(order, "full")
			for range 2 {
				order = append(order, []string{"token", "closed"}[s.Select(token, closed, nil, nil)])
			}
		})
		s.Go("signaler", func() {
			mu.Lock()
			full = true
			cond.Broadcast()
			mu.Unlock()
			token <- struct{}{}
			s.Yield()
			close(closed)
		})
		for s.Step() {
		}
		if got := strings.Join(order, " "); got != "full token closed" && got != "full closed token" && got != "full closed closed" {
			t.Errorf("seed %d: %s", seed, got)
		}
	}
}

func TestStopUnwindsTasks(t *testing.T) {
	s := newRandom(1)
	var mu Mutex
	mu.Schedule(s)
	unwound := 0
	for range 3 {
		s.Go("task", func() {
			defer func() {
				mu.Lock() // has no effect any more
				unwound++
				mu.Unlock()
			}()
			mu.Lock()
			s.WaitFor(func() bool { return false })
		})
	}
	for s.Step() {
	}
	s.Go("not begun", func() { t.Error("a task began after Stop") })
	s.Stop()
	if unwound != 3 || s.Step() || s.Runnable() {
		t.Errorf("%d tasks were unwound, %s wait", unwound, s.Waiting())
	}
}

func TestTimersAreVirtual(t *testing.T) {
	var planned []func()
	var after []time.Duration
	s := New(func(int) int { return 0 }, func(d time.Duration, f func()) { planned, after = append(planned, f), append(after, d) })
	var got []string
	s.Go("sleeper", func() {
		if err := s.Sleep(context.Background(), time.Hour); err != nil {
			t.Error(err)
		}
		got = append(got, "slept")
		ctx, cancel := s.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		s.WaitFor(func() bool { return Ready(ctx.Done()) })
		got = append(got, ctx.Err().Error())
	})
	for s.Step() || len(planned) > 0 {
		if !s.Runnable() && len(planned) > 0 {
			fire := planned[0]
			planned = planned[1:]
			fire()
		}
	}
	if strings.Join(got, ", ") != "slept, context deadline exceeded" || after[0] != time.Hour || after[1] != time.Minute {
		t.Errorf("%v after %v", got, after)
	}
}

// Without a scheduler, the same code uses goroutines and time.
func TestNilSchedulerIsReal(t *testing.T) {
	var s *Scheduler
	var mu Mutex
	done := make(chan struct{})
	s.Go("goroutine", func() {
		mu.Lock()
		defer mu.Unlock()
		s.Yield()
		close(done)
	})
	if s.Select(nil, done, nil, nil) != 1 {
		t.Error("another channel was ready")
	}
	ctx, cancel := s.WithTimeout(context.Background(), time.Nanosecond)
	defer cancel()
	if err := s.Sleep(ctx, time.Hour); err != context.DeadlineExceeded {
		t.Error(err)
	}
	<-s.After(1)
	fired := make(chan struct{})
	stop := s.AfterFunc(1, func() { close(fired) })
	<-fired
	stop()
}
