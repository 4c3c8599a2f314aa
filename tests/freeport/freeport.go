// Package freeport assigns loopback ports to tests that must know a port before a process listens
// on it, or that listen on it again later. A test that can listen on port 0 does not need it.
//
// A port that the system assigned for port 0 and that was closed again can be assigned to another
// process: the tests of other packages run at the same time, and that happened in about one of a
// hundred runs of all tests. The ports of this package are below the range from which the system
// assigns ports, and each process has a range of its own.
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
	// span is the number of ports of a process. A listener on the first one reserves the others.
	span = 100
)

var (
	mu          sync.Mutex
	reservation net.Listener // guarded by mu; open until the process ends
	first       int          // guarded by mu; the first port of the range
	next        int          // guarded by mu; the offset of the next port to try
)

// Take returns n ports without a listener. It returns no port twice before it has returned all
// ports of the process's range. It fails the test if there are not enough free ports.
func Take(t testing.TB, n int) []int {
	t.Helper()
	mu.Lock()
	defer mu.Unlock()
	if reservation == nil && !reserveRange() {
		t.Fatalf("no range of %d ports between %d and %d is free", span, lowest, highest)
	}
	var ports []int
	for tried := 0; len(ports) < n; tried++ {
		if tried == span {
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

// Run returns the first of n consecutive ports without a listener.
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

// reserveRange reserves a range that no other process has: the process that listens on the first
// port of a range has the range.
func reserveRange() bool {
	for _, i := range rand.Perm((highest - lowest) / span) {
		port := lowest + i*span
		if l, err := net.Listen("tcp", address(port)); err == nil {
			reservation, first = l, port
			return true
		}
	}
	return false
}

func address(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
