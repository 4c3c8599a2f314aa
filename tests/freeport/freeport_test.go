package freeport

import (
	"net"
	"testing"
)

func TestPortsAreFreeAndReturnedOnce(t *testing.T) {
	seen := map[int]bool{}
	listen := func(port int) {
		if seen[port] || port == first {
			t.Errorf("port %d is not free", port)
		}
		seen[port] = true
		l, err := net.Listen("tcp", address(port))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
	}
	for range 3 {
		for _, port := range Take(t, span/4) {
			listen(port)
		}
	}
	base := Run(t, 5)
	for port := base; port < base+5; port++ {
		listen(port)
	}
	// The rest of the range holds no port with a listener.
	for _, port := range Take(t, 10) {
		listen(port)
	}
}
