// Package freeport gives tests loopback ports that nobody takes from them: for those who must name
// a port before something listens on it, or again after it was left. Who can listen on port 0 and
// pass the listener on needs none of this.
//
// A port that the system gave for port 0 and that was closed again is anybody's: among the tests of
// other packages, which run beside, it was taken about once in a hundred runs of everything. So
// these come from below the range from which the system gives ports, and no two processes that ask
// here are given from the same hundred.
package freeport

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

const (
	lowest, highest = 4000, 11000
	// span is how many ports a process has for itself, of which the first is its claim.
	span = 100
)

var (
	mu    sync.Mutex
	claim net.Listener // guarded by mu; held until the process ends
	first int          // guarded by mu; of the ports claimed
	next  int          // guarded by mu; to look at for the next one who asks
)

// Take returns n ports on which nobody listens. None is given twice before the process has been
// given all that it claimed.
func Take(t testing.TB, n int) []int {
	t.Helper()
	mu.Lock()
	defer mu.Unlock()
	if claim == nil && !reserveRange() {
		t.Fatalf("no %d ports between %d and %d can be claimed", span, lowest, highest)
	}
	var ports []int
	for looked := 0; len(ports) < n; looked++ {
		if looked == span {
			t.Fatalf("only %d of %d ports from %d on are free", len(ports), n, first)
		}
		port := first + 1 + next%(span-1)
		next++
		if l, err := net.Listen("tcp", address(port)); err == nil {
			_ = l.Close()
			ports = append(ports, port)
		}
	}
	return ports
}

// Run returns the first of n ports that follow each other and on which nobody listens.
func Run(t testing.TB, n int) int {
	t.Helper()
	for range span {
		if ports := Take(t, n); ports[n-1]-ports[0] == n-1 {
			return ports[0]
		}
	}
	t.Fatalf("no %d ports in a row are free from %d on", n, first)
	return 0
}

// stake claims a span that no other process has: whoever listens on its first port does.
func reserveRange() bool {
	for _, at := range rand.Perm((highest - lowest) / span) {
		l, err := net.Listen("tcp", address(lowest+at*span))
		if err == nil {
			claim, first = l, lowest+at*span
			return true
		}
	}
	return false
}

func address(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
