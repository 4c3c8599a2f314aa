// Package deterministic breaks every rule of determinism, in ways that a search for text would miss
// or confuse. The lint test type-checks it; it is never built.
package deterministic

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	dice "math/rand/v2"
	"os"
	"reflect"
	"runtime"
	"sync"
	. "time"

	"github.com/asynkron/protoactor-go/actor"
)

var start = Now() // want: time.Now

// A method value and a function value are uses, as calls are.
var wait = (*sync.WaitGroup).Wait // want: sync.WaitGroup

var clock func() Time = Now // want: time.Now

func goroutinesAndChannels(c chan int, group *sync.WaitGroup) { // want: sync.WaitGroup
	go clock() // want: a goroutine
	c <- 1     // want: a send to a channel
	<-c        // want: a receive from a channel
	select {   // want: a select
	case <-c: // want: a receive from a channel
	default:
	}
	for range c { // want: a receive from a channel
	}
	group.Wait() // want: sync.WaitGroup.Wait
}

func clocks(d Duration) {
	Sleep(d)                                            // want: time.Sleep
	_ = Since(start)                                    // want: time.Since
	_, _ = context.WithTimeout(context.Background(), d) // want: context.WithTimeout
	runtime.Gosched()                                   // want: runtime.Gosched
	_ = start.After(start)                              // compares times, reads no clock
	<-After(d)                                          // want: a receive from a channel
}

func randomness(own *dice.Rand) { // want: math/rand/v2.Rand
	_ = dice.IntN(6)           // want: math/rand/v2.IntN
	_, _ = rand.Read(nil)      // want: crypto/rand.Read
	_ = os.Getpid()            // want: os.Getpid
	_ = fmt.Sprintf("%p", own) // want: an address as text
	_ = own.IntN(6)            // its origin is reported already
}

func blocking(root *actor.RootContext, pid *actor.PID, d Duration) {
	f := root.RequestFuture(pid, 1, d) // want: github.com/asynkron/protoactor-go/actor.RootContext.RequestFuture
	_, _ = f.Result()                  // want: github.com/asynkron/protoactor-go/actor.Future.Result
	_ = f.Wait()                       // want: github.com/asynkron/protoactor-go/actor.Future.Wait
}

func keysInAnyOrder(m map[string]int) (all []string) {
	for k := range maps.Keys(m) { // want: maps.Keys
		all = append(all, k)
	}
	_ = reflect.ValueOf(m).MapKeys() // want: reflect.Value.MapKeys
	return all
}
