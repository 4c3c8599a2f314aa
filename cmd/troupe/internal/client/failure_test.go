package client

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

// A certificate that nobody signed was told as "context canceled", where gRPC had begun another handshake in the meantime and
// gave it up when the connection was closed.
func TestWhatGaveWayToTheCloseOfAConnectionIsNotWhyItFailed(t *testing.T) {
	f, refused := &lastFailure{}, errors.New("certificate signed by unknown authority")
	f.set(refused)
	f.set(nil) // dialed anew
	f.set(fmt.Errorf("handshake: %w", context.Canceled))
	if f.get() != refused {
		t.Fatalf("told is %v", f.get())
	}
}
