package troupe

import (
	"context"
	"errors"
	"fmt"

	"github.com/troupe-raft/troupe/internal/member"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// softwareName is stored in new data directories, and sent to peers in the handshake.
const softwareName = "troupe"

// Start opens the data directory, starts the node's actors and connects to its peers. It returns
// when the log is recovered and the state machine is open; the context bounds that wait only, and
// does not stop the node later.
//
// If Start returns an error, no node runs, and the listeners of Config.PeerLink are closed. If the
// configuration is invalid, the context has ended, or the data directory cannot be used
// (ErrWrongCluster, ErrMembersChanged, ErrWrongMember, ErrLocked, ErrFormat, ErrCorrupt), nothing
// on disk is changed. If the context ends later, the error is ErrTimeout or ErrCanceled. The error
// of Config.StateMachine comes back wrapped.
func Start(ctx context.Context, config Config) (*Node, error) {
	n, err := start(ctx, config)
	if err != nil {
		return nil, errors.Join(err, config.PeerLink.close())
	}
	return n, nil
}

func start(ctx context.Context, config Config) (*Node, error) {
	if ctx.Err() != nil {
		return nil, contextError(ctx, "the node was not started")
	}
	config = config.withDefaults()
	if err := config.validate(); err != nil {
		return nil, err
	}
	if config.DebugChecks {
		if err := newMachineOpener(config.StateMachine).rehearse(); err != nil {
			return nil, err
		}
	}
	n := &Node{
		config: config, leadership: newLeadershipPublisher(), events: newEventPublisher(),
		machines: newMachineOpener(config.StateMachine),
	}
	host := &host{config: &n.config, linkChanged: n.events.linkChanged}
	core, err := member.Open(n.memberConfig(), host)
	if err != nil {
		return nil, config.explainWrongCluster(err)
	}
	n.core = core
	if err := core.Start(); err != nil {
		return nil, err
	}
	n.environment = host.environment
	if err := n.awaitStart(ctx); err != nil {
		n.Kill()
		return nil, err
	}
	return n, nil
}

func (n *Node) memberConfig() member.Config {
	c, first := &n.config, n.config.initialConfiguration()
	return member.Config{
		ID: c.ID, Address: raft.FindMember(first, c.ID).Address, First: first, Software: softwareName, DataDir: c.DataDir, FS: c.FS,
		Rejoin: c.Rejoin, StateMachine: n.machines.open, Timing: member.Timing(c.Timing), Limits: member.Limits(c.Limits),
		RestartLimit: c.RestartLimit, Logger: c.Logger, CrashInjection: c.CrashInjection,
		LeaderChanged: n.leaderChanged, Observer: n.events, Restarting: n.restarting, Stopped: n.stopped,
	}
}

// leaderChanged publishes a change of the leader.
func (n *Node) leaderChanged(m *messages.LeaderChanged) {
	if n.leadership.leaderChanged(m) {
		n.events.changed(Event{Kind: EventLeaderChanged, Term: m.Term, LeaderID: m.Leader})
	}
}

// restarting publishes that an actor is restarted.
func (n *Node) restarting(actor string, reason any) {
	err, isError := reason.(error)
	if !isError {
		err = fmt.Errorf("%v", reason)
	}
	n.events.changed(Event{Kind: EventActorRestarted, Actor: actor, Err: err})
}

// stopped publishes that the node has stopped.
func (n *Node) stopped(why error) {
	n.leadership.end()
	n.events.end(why)
}

// awaitStart waits until the node has read its log and opened its state machine.
func (n *Node) awaitStart(ctx context.Context) error {
	if err := n.awaitStep(ctx, n.core.Observer().Recovered(), "recovering the log"); err != nil {
		return err
	}
	return n.awaitStep(ctx, n.machines.ready, "opening the state machine")
}

func (n *Node) awaitStep(ctx context.Context, completed <-chan struct{}, what string) error {
	select {
	case <-completed:
		return nil
	case <-n.core.Done():
		if err := n.core.Err(); err != nil {
			return err
		}
		return ErrStopped
	case <-ctx.Done():
		return contextError(ctx, what)
	}
}
