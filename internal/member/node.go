package member

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/internal/session"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence"
	"github.com/troupe-raft/troupe/raft"
	"github.com/troupe-raft/troupe/supervisor"
)

// ErrStopped is the error of requests at a node that has stopped.
var ErrStopped = errors.New("node stopped")

// Node is one run of a member, from the opening of its data directory until its actors have
// stopped. Methods may be called from any goroutine.
//
//	Open ──▶ Start ──▶ recovered ──▶ Stop or Kill, or an actor stops the node
//	  │ data directory locked, │            │
//	  │ session made           │ actors run │ actors stop; then, in this order:
//	                                        │   no more retries
//	                                        │   connections to peers closed
//	                                        │   last actor has ended
//	                                        │   data directory unlocked
//	                                        │   Done closed, pending requests failed
//
// The data directory is unlocked after the last actor has ended, because an actor that still writes
// would write beside the next process. Pending requests fail after Done is closed, so that a caller
// that receives ErrStopped finds the reason in Err.
type Node struct {
	config   Config
	host     Host
	dataDir  *persistence.DataDir
	session  *session.Session
	observer *Observer
	tree     *supervisor.Tree
	injector *supervisor.CrashInjector // nil without Config.CrashInjection

	environment Environment
	nodePID     *actor.PID // of the Node actor
	stopRetries func()
	handover    handover
	stopActors  sync.Once

	done chan struct{}
	err  error // may be read once done is closed
}

// Open opens the data directory and makes the parts of a node. It starts no actor. After Open the
// caller calls either Start or Close.
func Open(config Config, host Host) (*Node, error) {
	config = config.withDefaults()
	identity := persistence.Identity{
		ClusterID: config.First.ClusterId, NodeID: config.ID, CreatedBy: config.Software, Rejoining: config.Rejoin,
	}
	host.FillRandom(identity.StorageID[:])
	dir, err := persistence.OpenDataDir(config.FS, config.DataDir, identity)
	var refused *persistence.RefusedError
	switch {
	case errors.As(err, &refused):
		return nil, &actors.StorageRefusedError{Peer: refused.Peer, Reason: fmt.Sprintf("%s (recorded in %s)", refused.Reason, refused.Path)}
	case err != nil:
		return nil, err
	}
	n := &Node{config: config, host: host, dataDir: dir, observer: newObserver(config.Observer), done: make(chan struct{})}
	n.tree = supervisor.New(config.supervisorConfig(dir), &n.config.Logger, host.Now)
	n.session = session.New(session.Config{
		NodeID: config.ID, NewNonce: n.newNonce, FirstReadID: n.randomUint64(), Now: host.Now,
		Limits: config.sessionLimits(), Send: n.Send,
	})
	return n, nil
}

// Start makes the environment and starts the actors. They recover the log in their own time, see
// Observer.Recovered. If Start fails, it has released everything.
func (n *Node) Start() error {
	parts := Parts{
		Identity: n.dataDir.Identity, Peers: n.dataDir.Peers, Address: n.config.Address, Session: &replySink{n},
		Observer: n.observer, Strategy: n.tree.Strategy(),
	}
	if n.config.CrashInjection {
		n.injector = &supervisor.CrashInjector{}
		parts.Middleware = []actor.ReceiverMiddleware{n.injector.Middleware()}
	}
	environment, err := n.host.NewEnvironment(parts)
	if err != nil {
		return errors.Join(err, n.Close())
	}
	n.environment, n.nodePID = environment, actor.NewPID(n.config.Address, actors.NodePath)
	if err := n.tree.Start(environment, environment.Root()); err != nil {
		environment.Close()
		return errors.Join(err, n.Close())
	}
	n.stopRetries = n.host.Every(n.config.Timing.HeartbeatInterval, n.retry)
	n.host.WhenClosed(n.tree.Done(), n.finish)
	return nil
}

// Close unlocks the data directory of a node that was not started.
func (n *Node) Close() error { return n.dataDir.Close() }

// retry sends again what has waited for too long.
func (n *Node) retry() { n.session.Retry(n.config.Timing.ElectionTimeout) }

// finish releases the node's resources after the actors have stopped.
func (n *Node) finish() {
	n.stopRetries()
	n.handover.end()
	n.environment.Close()
	n.environment.AwaitActors()
	n.err = errors.Join(n.tree.Err(), n.recordRefusal(n.tree.Err()), n.dataDir.Close())
	if n.config.Stopped != nil {
		n.config.Stopped(n.err)
	}
	close(n.done)
	n.session.Close(n.StopError())
}

// recordRefusal stores a peer's refusal of the data directory in it: no later start uses it.
func (n *Node) recordRefusal(stopped error) error {
	var refused *actors.StorageRefusedError
	if !errors.As(stopped, &refused) {
		return nil
	}
	return n.dataDir.RecordRefusal(refused.Peer, refused.Reason)
}

// StopError returns the error of requests at a node that has stopped. It may be called once Done is
// closed.
func (n *Node) StopError() error {
	if n.err != nil {
		return fmt.Errorf("%w: %w", ErrStopped, n.err)
	}
	return ErrStopped
}

// Done returns a channel that is closed when the node has stopped.
func (n *Node) Done() <-chan struct{} { return n.done }

// ActorsStopped reports whether no actor of the node runs, though not all may be released yet.
func (n *Node) ActorsStopped() bool { return n.tree.Stopped() }

// Err returns the error that stopped the node. It may be called once Done is closed.
func (n *Node) Err() error { return n.err }

// Send sends a message to the Node actor.
func (n *Node) Send(m proto.Message) { n.environment.Root().Send(n.nodePID, m) }

// Session returns the node's session.
func (n *Node) Session() *session.Session { return n.session }

// Observer returns the recent state of the node's actors.
func (n *Node) Observer() *Observer { return n.observer }

// Identity returns the identity of the data directory.
func (n *Node) Identity() persistence.Identity { return n.dataDir.Identity }

// Peers returns the data directories of the other members, as this one knows them.
func (n *Node) Peers() *persistence.PeerStorage { return n.dataDir.Peers }

// LogOptions returns the options with which the LogStore opens the log.
func (n *Node) LogOptions() persistence.Options { return n.config.logOptions(n.dataDir) }

// Restarts returns the number of restarts of actors since Start.
func (n *Node) Restarts() int { return n.tree.Restarts() }

// Crash makes an actor fail as described. The error says why that cannot happen.
func (n *Node) Crash(c supervisor.CrashPoint) error {
	if err := n.checkCrashPoint(c); err != nil {
		return err
	}
	return n.injector.Arm(c)
}

// CrashNow makes an actor fail at once. The error says why that cannot happen.
func (n *Node) CrashNow(path string) error {
	if err := n.checkCrashPoint(supervisor.CrashPoint{Actor: path}); err != nil {
		return err
	}
	return n.injector.CrashNow(n.environment.Root(), n.nodePID.Address, path)
}

// checkCrashPoint checks what the injector does not know: the members.
func (n *Node) checkCrashPoint(c supervisor.CrashPoint) error {
	if n.injector == nil {
		return errors.New("crash injection is off: set Config.CrashInjection")
	}
	members := n.observer.Views().Node.Configuration
	if id, isPeer := c.Peer(); isPeer && (id == n.config.ID || raft.FindMember(members, id) == nil) {
		return fmt.Errorf("the actor %q does not exist: %s is not another member", c.Actor, raft.FormatID(id))
	}
	return nil
}

// newNonce returns bytes that no other client session has.
func (n *Node) newNonce() []byte {
	nonce := make([]byte, 16)
	n.host.FillRandom(nonce)
	return nonce
}

func (n *Node) randomUint64() uint64 {
	var b [8]byte
	n.host.FillRandom(b[:])
	return binary.LittleEndian.Uint64(b[:])
}

// replySink delivers the results, read points and leader changes that the node's actors send to the
// program. It is a process of the actor system, but not an actor: it runs on the sender's
// goroutine, so it must not wait.
type replySink struct{ node *Node }

// SendUserMessage delivers one message of an actor.
func (s *replySink) SendUserMessage(_ *actor.PID, message any) {
	_, message, _ = actor.UnwrapEnvelope(message)
	if m, ok := message.(*messages.LeaderChanged); ok {
		s.node.leaderChanged(m)
		if s.node.config.LeaderChanged != nil {
			s.node.config.LeaderChanged(m)
		}
	}
	s.node.session.Deliver(message)
}

// SendSystemMessage does nothing; it completes actor.Process.
func (s *replySink) SendSystemMessage(*actor.PID, any) {}

// Stop does nothing; it completes actor.Process.
func (s *replySink) Stop(*actor.PID) {}
