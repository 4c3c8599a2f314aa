package troupe

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"github.com/rs/zerolog"

	"github.com/troupe-raft/troupe/actors/live"
	"github.com/troupe-raft/troupe/internal/defaults"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence/vfs"
	"github.com/troupe-raft/troupe/raft"
	"github.com/troupe-raft/troupe/supervisor"
)

type (
	// Network links nodes of one process, for tests and for embedding several members in one program. Tests cut, delay and
	// filter on it.
	Network = live.LocalNetwork
	// Crash asks, in tests, that an actor of a node fail; see Node.Crash.
	Crash = supervisor.CrashPoint
	// FS is the filesystem that a node's files are on; see package persistence/vfs for the operating system's and for one
	// in memory that can lose what was not synced.
	FS = vfs.FS
)

// NewLocalNetwork makes a network that joins nodes of this process.
func NewNetwork() *Network { return live.NewLocalNetwork() }

// Config is what a node is started with. ID, Members, DataDir, StateMachine and one of Network and PeerLink are required.
type Config struct {
	// ID is this member's id: not 0, and one of Members.
	ID uint64
	// Members are the servers of a new cluster: the same list on each of them. Ignored, but for a check that it still names
	// the same cluster, once the data directory holds a log.
	Members []Member
	// ClusterToken keeps clusters of the same members apart. May be empty.
	ClusterToken string
	// DataDir is where this node keeps its files; made if missing, with mode 0700. Nobody else may use it.
	DataDir string
	// FS is what DataDir is on; nil: the operating system's.
	FS FS

	// StateMachine opens the application's state machine.
	StateMachine Factory

	// Network joins nodes of this process. Nil: PeerLink is used.
	Network *Network
	// PeerLink is how nodes of other processes are reached. Nil: Network is used.
	PeerLink *PeerLink

	Timing Timing
	Limits Limits
	// Logger hears one line an event that matters. The zero value is silent.
	Logger zerolog.Logger

	// CrashInjection makes Node.Crash possible, at the price of an allocation a message.
	CrashInjection bool
	// RestartLimit bounds restarts of actors: more than Max within Within stop the node. Zero: 10 within 30 s.
	RestartLimit supervisor.RestartLimit
}

// PeerLink is the link to members in other processes.
type PeerLink struct {
	// Listeners take the connections of the peers. At least one; the node closes them.
	Listeners []net.Listener
	// ServerTLS and ClientTLS make the connections mutually authenticated TLS (see PeerTLS); both nil: plaintext.
	ServerTLS *tls.Config
	ClientTLS *tls.Config
	// AllowPlaintext permits plaintext on listeners beyond loopback: whoever reaches the port can then speak as any member.
	AllowPlaintext bool
	// Remote uses Proto.Actor's own remote instead of the peer link. Experimental; see docs/messages.md.
	ProtoRemote bool
}

// Limits bound what a node keeps. Zero values mean the defaults.
type Limits struct {
	// MaxRequestBytes is the largest command. Default 1.5 MiB.
	MaxRequestBytes uint64
	// MaxPendingRequests and MaxPendingBytes bound the commands of this handle that wait for their result.
	// Defaults 65536, 64 MiB.
	MaxPendingRequests int
	MaxPendingBytes    uint64
	// MaxPendingReads is how many reads of this handle may wait. Default 65536.
	MaxPendingReads int
	// MaxUncommittedBytes bounds, at a leader, what is proposed and not committed, or not on its own disk yet. Default 64 MiB.
	MaxUncommittedBytes uint64
	// LogMemoryBytes of the newest durable log are kept in memory for members that are a little behind. Default 16 MiB.
	LogMemoryBytes uint64
	// MaxInFlightBytes may be on the way to one peer, unacknowledged. Default 16 MiB; 1 MiB over Proto.Actor's remote.
	MaxInFlightBytes uint64
	// DiskLowWater: below as many free bytes a leader refuses writes as ErrDiskFull. Default 256 MiB.
	DiskLowWater uint64
}

// withDefaults fills in what was left zero.
func (c Config) withDefaults() Config {
	c.Timing.HeartbeatInterval = cmp.Or(c.Timing.HeartbeatInterval, defaults.HeartbeatInterval)
	c.Timing.ElectionTimeout = cmp.Or(c.Timing.ElectionTimeout, defaults.ElectionTimeout)
	c.Limits.MaxRequestBytes = cmp.Or(c.Limits.MaxRequestBytes, defaults.MaxRequestBytes)
	c.Limits.MaxPendingRequests = cmp.Or(c.Limits.MaxPendingRequests, defaults.MaxPendingRequests)
	c.Limits.MaxPendingBytes = cmp.Or(c.Limits.MaxPendingBytes, defaults.MaxPendingBytes)
	c.Limits.MaxPendingReads = cmp.Or(c.Limits.MaxPendingReads, defaults.MaxPendingReads)
	c.Limits.MaxUncommittedBytes = cmp.Or(c.Limits.MaxUncommittedBytes, defaults.MaxUncommittedBytes)
	c.Limits.LogMemoryBytes = cmp.Or(c.Limits.LogMemoryBytes, defaults.LogMemoryBytes)
	inFlight := uint64(defaults.MaxInFlightBytes)
	if c.PeerLink != nil && c.PeerLink.ProtoRemote {
		inFlight = defaults.RemoteInFlightBytes
	}
	c.Limits.MaxInFlightBytes = cmp.Or(c.Limits.MaxInFlightBytes, inFlight)
	c.Limits.DiskLowWater = cmp.Or(c.Limits.DiskLowWater, defaults.DiskLowWaterBytes)
	if c.FS == nil {
		c.FS = vfs.OS()
	}
	return c
}

// validate says what is wrong with a configuration, and how to mend it.
func (c Config) validate() error {
	switch {
	case c.ID == 0:
		return errors.New("troupe: Config.ID must not be 0")
	case c.StateMachine == nil:
		return errors.New("troupe: Config.StateMachine must make a state machine")
	case c.DataDir == "":
		return errors.New("troupe: Config.DataDir must name a directory")
	case (c.Network == nil) == (c.PeerLink == nil):
		return errors.New("troupe: exactly one of Config.Network (nodes of this process) and Config.Peers (other processes) must be set")
	case c.PeerLink != nil && len(c.PeerLink.Listeners) == 0:
		return errors.New("troupe: Config.Peers.Listeners must not be empty: the node does not choose its own port")
	case c.Timing.HeartbeatInterval <= 0 || c.Timing.ElectionTimeout < 3*c.Timing.HeartbeatInterval:
		return fmt.Errorf("troupe: the election timeout (%v) must be at least three heartbeats (%v)",
			c.Timing.ElectionTimeout, c.Timing.HeartbeatInterval)
	}
	for _, m := range c.Members {
		if m.ID == c.ID {
			return raft.ValidateConfiguration(c.initialConfiguration())
		}
	}
	return fmt.Errorf("troupe: Config.Members does not name this member (%x): a new cluster's list holds every member", c.ID)
}

// bootstrap is the first configuration of the cluster: the same bytes on every member.
func (c Config) initialConfiguration() *messages.Configuration {
	b := &messages.Configuration{}
	for _, m := range c.Members {
		b.Members = append(b.Members, &messages.Member{
			Id: m.ID, Name: m.Name, Address: m.Address, PeerUrls: m.PeerURLs, Learner: m.IsLearner,
		})
	}
	sortMembers(b.Members)
	b.ClusterId = raft.ClusterID(b, c.ClusterToken)
	return b
}

// ClusterID is the id that a new cluster of these members has.
func ClusterID(members []Member, token string) uint64 {
	return Config{Members: members, ClusterToken: token}.initialConfiguration().ClusterId
}
