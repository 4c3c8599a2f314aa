package troupe

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/actors/live"
	"github.com/troupe-raft/troupe/actors/logstore"
	"github.com/troupe-raft/troupe/actors/machine"
	"github.com/troupe-raft/troupe/actors/node"
	"github.com/troupe-raft/troupe/actors/replicator"
	"github.com/troupe-raft/troupe/internal/defaults"
	"github.com/troupe-raft/troupe/internal/session"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence"
	"github.com/troupe-raft/troupe/raft"
	"github.com/troupe-raft/troupe/supervisor"
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
	first := config.initialConfiguration()
	identity := persistence.Identity{ClusterID: first.ClusterId, NodeID: config.ID, CreatedBy: softwareName}
	fillRandom(identity.StorageID[:])
	dir, err := persistence.OpenDataDir(config.FS, config.DataDir, identity)
	if err != nil {
		return nil, err
	}
	n, err := newNode(config, first, dir)
	if err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	if err := n.supervisorTree.Start(n.environment, n.rootContext); err != nil {
		n.environment.Close()
		return nil, errors.Join(err, dir.Close())
	}
	go n.retryUntilStopped()
	return n, n.awaitRecovery(ctx)
}

// newNode makes the parts of a node and connects them. It starts no actor.
func newNode(config Config, first *messages.Configuration, dir *persistence.DataDir) (*Node, error) {
	address := raft.FindMember(first, config.ID).Address
	system := live.NewActorSystem(address, config.Logger)
	n := &Node{
		config: config, dataDir: dir, observer: newNodeObserver(), done: make(chan struct{}),
		rootContext: system.Root, nodePID: actor.NewPID(address, actors.NodePath),
	}
	sink, _ := system.ProcessRegistry.Add(&replySink{n}, "session")
	n.session = session.New(session.Config{
		NodeID: config.ID, NewNonce: newNonce, FirstReadID: randomUint64(), Now: live.Now,
		Limits: session.Limits{
			MaxRequestBytes: config.Limits.MaxRequestBytes, MaxPendingRequests: config.Limits.MaxPendingRequests,
			MaxPendingBytes: config.Limits.MaxPendingBytes, MaxPendingReads: config.Limits.MaxPendingReads,
		},
		Send: func(m proto.Message) { n.rootContext.Send(n.nodePID, m) },
	})

	link, err := newPeerLink(&config, dir.Identity)
	if err != nil {
		return nil, err
	}
	n.supervisorTree = supervisor.New(supervisorConfig(&config, first, dir), &n.config.Logger, live.Now)
	options := live.Options{
		ID: config.ID, System: system, FS: config.FS, Logger: config.Logger, Observer: n.observer, Link: link,
		Session: sink, Strategy: n.supervisorTree.Strategy(),
	}
	if config.CrashInjection {
		n.injector = &supervisor.CrashInjector{}
		options.Middleware = []actor.ReceiverMiddleware{n.injector.Middleware()}
	}
	n.environment = live.New(options)
	return n, nil
}

func supervisorConfig(config *Config, first *messages.Configuration, dir *persistence.DataDir) supervisor.Config {
	return supervisor.Config{
		Bootstrap: first, RestartLimit: config.RestartLimit,
		HeartbeatInterval: config.Timing.HeartbeatInterval, ElectionTimeout: config.Timing.ElectionTimeout,
		Node: node.Limits{
			MaxUncommittedBytes: config.Limits.MaxUncommittedBytes, MaxBatchBytes: defaults.MaxBatchBytes,
			MemoryBytes: config.Limits.LogMemoryBytes, MaxPendingReads: defaults.MaxPendingReads,
		},
		Replicator: replicator.Limits{
			MaxInFlight: defaults.MaxInFlight, MaxInFlightBytes: config.Limits.MaxInFlightBytes,
			MaxRequestBytes: defaults.MaxBatchBytes, ProbeBytes: defaults.ProbeBytes,
		},
		LogStore: logstore.Config{Log: persistence.Options{
			FS: config.FS, Dir: dir.LogDir(), NodeID: config.ID, StorageID: dir.Identity.StorageID, MustExist: true,
			LowWater: config.Limits.DiskLowWater,
		}},
		Machine: machine.Config{Factory: config.StateMachine},
	}
}

// awaitRecovery waits until the node has read its log.
func (n *Node) awaitRecovery(ctx context.Context) error {
	select {
	case <-n.observer.recovered:
		return nil
	case <-n.done:
		if n.err != nil {
			return n.err
		}
		return ErrStopped
	case <-ctx.Done():
		n.Kill()
		return fmt.Errorf("%w: recovering the log: %w", ErrTimeout, ctx.Err())
	}
}

// newNonce returns a number that no other session uses.
func newNonce() []byte {
	nonce := make([]byte, 16)
	fillRandom(nonce)
	return nonce
}

func randomUint64() uint64 {
	var b [8]byte
	fillRandom(b[:])
	return binary.LittleEndian.Uint64(b[:])
}

func fillRandom(b []byte) {
	if _, err := rand.Read(b); err != nil {
		panic(fmt.Errorf("the system's random source failed: %w", err))
	}
}
