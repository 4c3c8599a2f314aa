package troupe

import (
	"context"
	"fmt"

	"github.com/troupe-raft/troupe/internal/member"
	"github.com/troupe-raft/troupe/raft"
)

// softwareName is stored in new data directories, and sent to peers in the handshake.
const softwareName = "troupe"

// Start opens the data directory, starts the node's actors and connects to its peers. It returns
// when the log is recovered; the context bounds that wait only, and does not stop the node later.
//
// If the configuration is invalid, or the data directory cannot be used (ErrWrongCluster,
// ErrWrongMember, ErrLocked, ErrFormat, ErrCorrupt), Start returns an error and changes nothing on
// disk. If the context ends first, the error is ErrTimeout and the node is stopped.
func Start(ctx context.Context, config Config) (*Node, error) {
	config = config.withDefaults()
	if err := config.validate(); err != nil {
		return nil, err
	}
	n := &Node{config: config, leadership: newLeadershipPublisher()}
	host := &host{config: &n.config}
	core, err := member.Open(n.memberConfig(), host)
	if err != nil {
		return nil, err
	}
	if err := core.Start(); err != nil {
		return nil, err
	}
	n.core, n.environment = core, host.environment
	return n, n.awaitRecovery(ctx)
}

func (n *Node) memberConfig() member.Config {
	c, first := &n.config, n.config.initialConfiguration()
	return member.Config{
		ID: c.ID, Address: raft.FindMember(first, c.ID).Address, First: first, Software: softwareName, DataDir: c.DataDir, FS: c.FS,
		StateMachine: c.StateMachine, Timing: member.Timing(c.Timing), Limits: member.Limits(c.Limits),
		RestartLimit: c.RestartLimit, Logger: c.Logger, CrashInjection: c.CrashInjection,
		LeaderChanged: n.leadership.leaderChanged,
	}
}

// awaitRecovery waits until the node has read its log.
func (n *Node) awaitRecovery(ctx context.Context) error {
	select {
	case <-n.core.Observer().Recovered():
		return nil
	case <-n.core.Done():
		if err := n.core.Err(); err != nil {
			return err
		}
		return ErrStopped
	case <-ctx.Done():
		n.Kill()
		return fmt.Errorf("%w: recovering the log: %w", ErrTimeout, ctx.Err())
	}
}
