package procs

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
)

// The ports are below the range that systems use for outgoing connections (from 32768 on Linux,
// from 49152 on others), so that no connection occupies the port of a server between its end and
// its next start.
const lowestPort, highestPort = 11000, 32000

var (
	portsMu   sync.Mutex
	portsUsed = make(map[int]bool) // the ports that FreePorts has returned
)

// FreePorts returns n loopback ports without a listener. It returns no port twice.
func FreePorts(n int) ([]int, error) {
	portsMu.Lock()
	defer portsMu.Unlock()
	var ports []int
	for range 10_000 {
		if len(ports) == n {
			return ports, nil
		}
		port := lowestPort + rand.IntN(highestPort-lowestPort)
		if portsUsed[port] {
			continue
		}
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		_ = listener.Close()
		portsUsed[port] = true
		ports = append(ports, port)
	}
	return nil, errors.New("no free loopback ports found")
}
