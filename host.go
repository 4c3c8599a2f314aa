package troupe

import (
	"crypto/rand"
	"fmt"
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-raft/troupe/actors/live"
	"github.com/troupe-raft/troupe/internal/member"
)

// host is the member.Host of production: this process, with goroutines, the system's clock and
// randomness, and the connections of the configuration.
type host struct {
	config      *Config
	linkChanged func(peer uint64, up bool)
	environment *environment // once NewEnvironment was called
}

// Now returns the monotonic time since the start of the process.
func (h *host) Now() time.Duration { return live.Now() }

// FillRandom fills b from the system's random source.
func (h *host) FillRandom(b []byte) {
	if _, err := rand.Read(b); err != nil {
		panic(fmt.Errorf("the system's random source failed: %w", err))
	}
}

// Every calls f on a goroutine of its own.
func (h *host) Every(interval time.Duration, f func()) (stop func()) {
	ticker, stopped := time.NewTicker(interval), make(chan struct{})
	go func() {
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				f()
			case <-stopped:
				return
			}
		}
	}()
	return func() { close(stopped) }
}

// WhenClosed waits on a goroutine of its own.
func (h *host) WhenClosed(channel <-chan struct{}, f func()) {
	go func() {
		<-channel
		f()
	}()
}

// NewEnvironment makes a live environment and connects it to the peers.
func (h *host) NewEnvironment(p member.Parts) (member.Environment, error) {
	system := live.NewActorSystem(p.Address, h.config.Logger)
	sink, _ := system.ProcessRegistry.Add(p.Session, "session")
	link, err := newPeerLink(h.config, p.Identity)
	if err != nil {
		return nil, err
	}
	h.environment = &environment{live.New(live.Options{
		ID: h.config.ID, System: system, FS: h.config.FS, Logger: h.config.Logger, Observer: p.Observer, Link: link,
		Peers: p.Peers, Session: sink, Strategy: p.Strategy, LinkChanged: h.linkChanged, Middleware: p.Middleware,
	})}
	return h.environment, nil
}

// environment is a live environment.
type environment struct{ *live.Env }

// Root returns the root context of the environment's actor system.
func (e *environment) Root() *actor.RootContext { return e.System().Root }

// Connected reports whether the link to a peer is up.
func (e *environment) Connected() bool {
	return slices.ContainsFunc(e.LinkStats(), func(l live.PeerStat) bool { return l.Up })
}
