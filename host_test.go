package troupe

import (
	"testing"
	"time"
)

func TestHostCallsPeriodicallyUntilStopped(t *testing.T) {
	calls := make(chan bool)
	done := make(chan struct{})
	stop := (&host{}).Every(time.Millisecond, func() {
		select {
		case calls <- true:
		case <-done:
		}
	})
	for range 3 {
		select {
		case <-calls:
		case <-time.After(2 * time.Minute):
			t.Fatal("the function is not called")
		}
	}
	stop()
	close(done)
}

func TestHostDrawsDifferentBytes(t *testing.T) {
	var a, b [16]byte
	(&host{}).FillRandom(a[:])
	(&host{}).FillRandom(b[:])
	if a == b || a == [16]byte{} {
		t.Fatalf("drawn are %x and %x", a, b)
	}
}
