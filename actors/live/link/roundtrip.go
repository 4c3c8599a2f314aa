package link

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/troupe-raft/troupe/actors/live"
)

// probeMethod is a call without content, which measures the time to a peer and back. It shares the
// connection with the messages, so the time includes what waits before it.
const probeMethod = "Probe"

func answerProbe(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	if err := decode(&incomingBatch{}); err != nil {
		return nil, err
	}
	return &outgoingBatch{}, nil
}

// probe measures a round trip at once and then every probeInterval until ctx ends.
func (p *linkPeer) probe(ctx context.Context, connection *grpc.ClientConn) {
	ticker := time.NewTicker(p.link.options.probeInterval)
	defer ticker.Stop()
	for {
		began := time.Now()
		// A probe has as much time as the connection: what ends the connection ends it.
		err := connection.Invoke(ctx, "/"+serviceDesc.ServiceName+"/"+probeMethod, &outgoingBatch{}, &incomingBatch{})
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			p.roundTrips.add(time.Since(began))
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// roundTripCounter counts round trips by duration.
type roundTripCounter struct {
	mu    sync.Mutex
	stats live.RoundTrips // guarded by mu
}

func (c *roundTripCounter) add(took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stats.Add(took)
}

func (c *roundTripCounter) load() live.RoundTrips {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stats
}
