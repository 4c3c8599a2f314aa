package link

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/troupe-raft/troupe/actors/live/internal/linktest"
	"github.com/troupe-raft/troupe/messages"
)

// gatedStream is a stream that a peer opened. Its handler waits in SendHeader and in RecvMsg until
// the test lets it go on, so the test chooses the order in which handlers of one lane go on.
type gatedStream struct {
	grpc.ServerStream
	ctx       context.Context
	cancel    context.CancelFunc
	inHeader  chan struct{} // closed when the handler is about to send its Welcome
	welcome   chan struct{} // closed to let it
	inRecv    chan struct{} // closed when the handler receives
	broken    chan struct{} // closed to break the connection
	ended     chan struct{} // closed when the handler has returned
	welcomed  bool          // by the test
	replaced  bool          // a later stream was opened
	hasBroken bool
}

func (g *gatedStream) Context() context.Context { return g.ctx }

func (g *gatedStream) SendHeader(metadata.MD) error {
	close(g.inHeader)
	<-g.welcome
	return nil
}

func (g *gatedStream) RecvMsg(any) error {
	close(g.inRecv)
	select {
	case <-g.broken:
		return io.EOF
	case <-g.ctx.Done():
		return g.ctx.Err()
	}
}

// laneScript opens, welcomes and breaks streams of one lane, one step at a time.
type laneScript struct {
	t       *testing.T
	link    *Link
	streams []*gatedStream
}

func (l *laneScript) await(what string, c <-chan struct{}) {
	l.t.Helper()
	select {
	case <-c:
	case <-time.After(linktest.Timeout):
		l.t.Fatalf("timeout: %s", what)
	}
}

// open lets the peer open the lane again, up to the Welcome.
func (l *laneScript) open() {
	md := encodeMetadata(helloKey, identityOfMember2().Hello(1, control.String()))
	ctx, cancel := context.WithCancel(metadata.NewIncomingContext(context.Background(), md))
	g := &gatedStream{
		ctx: ctx, cancel: cancel, inHeader: make(chan struct{}), welcome: make(chan struct{}),
		inRecv: make(chan struct{}), broken: make(chan struct{}), ended: make(chan struct{}),
	}
	go func() {
		_ = l.link.accept(control, g)
		cancel() // as gRPC does
		close(g.ended)
	}()
	l.await("the Welcome of a stream", g.inHeader)
	for i, earlier := range l.streams {
		earlier.replaced = true
		if earlier.welcomed {
			l.await(fmt.Sprintf("stream %d ends, since the lane was opened again", i), earlier.ended)
		}
	}
	l.streams = append(l.streams, g)
}

// letWelcome lets stream i send its Welcome.
func (l *laneScript) letWelcome(i int) {
	g := l.streams[i]
	g.welcomed = true
	close(g.welcome)
	l.await(fmt.Sprintf("stream %d receives", i), g.inRecv)
	if g.replaced {
		l.await(fmt.Sprintf("stream %d ends after its Welcome, since the lane was opened again before", i), g.ended)
	}
}

// breakStream breaks the connection of a stream whose handler receives.
func (l *laneScript) breakStream(i int) {
	g := l.streams[i]
	g.hasBroken = true
	close(g.broken)
	l.await(fmt.Sprintf("stream %d ends, since it broke", i), g.ended)
}

// check checks that the lane is open as long as its latest stream is.
func (l *laneScript) check() {
	p := l.link.peers.get(2)
	p.mu.Lock()
	open := p.connections.Streams()[control]
	p.mu.Unlock()
	last := l.streams[len(l.streams)-1]
	if last.hasBroken {
		if open != nil {
			l.t.Fatal("the lane is open, and its latest stream has broken")
		}
		return
	}
	if open == nil || open.stopped.Load() {
		l.t.Fatalf("the latest of %d streams is not the lane's", len(l.streams))
	}
	select {
	case <-last.ended:
		l.t.Fatalf("the latest of %d streams has ended, and nothing broke it", len(l.streams))
	default:
	}
}

// A peer may open a lane again before this node has noticed that the earlier connection broke. In
// whatever order the handlers of the streams go on, the latest stream stays, and the others end: a
// stream counts from before its Welcome, so that a peer which was welcomed twice finds that the
// second one holds.
func TestLatestStreamOfALaneStaysInAnyOrder(t *testing.T) {
	a := newNodeFixture(t, 1, 2, "127.0.0.1:0")
	a.env.SetPeers(0, &messages.Configuration{Members: []*messages.Member{{Id: 2, Address: "127.0.0.1:1"}}})
	for seed := range uint64(60) {
		random := rand.New(rand.NewPCG(seed, 0))
		l := &laneScript{t: t, link: a.link}
		l.open()
		for range 12 {
			i := random.IntN(len(l.streams))
			switch g := l.streams[i]; {
			case random.IntN(4) == 0 && len(l.streams) < 5:
				l.open()
			case !g.welcomed:
				l.letWelcome(i)
			case !g.replaced && !g.hasBroken && random.IntN(3) == 0:
				l.breakStream(i)
			}
			l.check()
		}
		for i, g := range l.streams {
			if !g.welcomed {
				l.letWelcome(i)
			}
			if !g.replaced && !g.hasBroken {
				l.breakStream(i)
			}
		}
	}
}
