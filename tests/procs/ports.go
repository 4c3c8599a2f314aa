package procs

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
)

// Ports are taken from below the range that systems use for outgoing connections (32768 and up on
// Linux, 49152 on others): a server that is killed and started again must find its port as it left
// it, not used by some client's end.
const lowestPort, highestPort = 11000, 32000

var (
	portsMu   sync.Mutex
	portsUsed = make(map[int]bool) // by this program, so that nobody gets one twice
)

// FreePorts returns n loopback ports on which nobody listens.
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
