package troupe

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"github.com/troupe-raft/troupe/internal/defaults"
	"github.com/troupe-raft/troupe/internal/member"
	"github.com/troupe-raft/troupe/persistence/vfs"
	"github.com/troupe-raft/troupe/raft"
	"github.com/troupe-raft/troupe/supervisor"
)

// FS is the filesystem that holds a node's files. Package persistence/vfs has that of the operating
// system, and one in memory that can lose what was not synced.
//
//	type FS interface {
//		Create(path string) (File, error)
//		Open(path string) (File, error)
//		OpenReadWrite(path string) (File, error)
//		Rename(from, to string) error
//		Remove(path string) error
//		MkdirAll(path string) error
//		List(dir string) ([]string, error)
//		Stat(path string) (fs.FileInfo, error)
//		SyncDir(dir string) error
//		Lock(path string) (io.Closer, error)
//		FreeBytes(path string) (uint64, error)
//	}
type FS = vfs.FS

// Config configures a node. ID, Members, DataDir, StateMachine and one of Network and PeerLink are
// required.
type Config struct {
	// ID is the id of this member. It is not 0, and Members must contain it.
	ID uint64
	// Members are the servers of a new cluster; the list must be the same on each of them. If the data
	// directory holds a log, the members come from the log, and Members only serves to check that the
	// log is of the same cluster.
	Members []Member
	// ClusterToken distinguishes clusters that have the same members. It may be empty.
	ClusterToken string
	// DataDir is the directory of the node's files. Start creates it with mode 0700 if it does not
	// exist, and locks it.
	DataDir string
	// FS holds DataDir; nil is the operating system's.
	FS FS

	// Rejoin starts a member that lost its data directory, with an empty one. The member receives
	// nothing and does not vote until Node.RejoinMember was called at the leader. It is ignored in
	// later starts on the same directory. Without it a member whose directory was emptied is refused
	// by its peers, and its node stops with a *StorageRefusedError.
	Rejoin bool

	// StateMachine opens the application's state machine.
	StateMachine Factory

	// Network connects the node to others of this process; nil if PeerLink is set.
	Network *Network
	// PeerLink connects the node to members in other processes; nil if Network is set.
	PeerLink *PeerLink

	Timing Timing
	Limits Limits
	// Logger receives one line for each important event. The zero value discards them.
	Logger zerolog.Logger

	// CrashInjection enables Node.Crash and Node.CrashNow. It costs an allocation per message.
	CrashInjection bool
	// DebugChecks makes Start find a mistake that otherwise shows at the first restart of the node's
	// actors: a StateMachine that returns the same state machine twice. Start calls it once more, and
	// closes what it returns. StartCluster sets DebugChecks.
	DebugChecks bool
	// RestartLimit bounds the restarts of actors: more than Max within the duration Within stop the
	// node. The zero value is 10 within 30 s.
	RestartLimit supervisor.RestartLimit
}

// Timing holds the durations of Raft. Zero values are replaced by the defaults. All members should
// have the same.
type Timing struct {
	// HeartbeatInterval is the time between two heartbeats of a leader. Default 100 ms.
	HeartbeatInterval time.Duration
	// ElectionTimeout is the least time without a leader after which a member starts an election; the
	// actual time is random, up to twice this (Raft §5.2). It is at least three heartbeat intervals.
	// Default 1000 ms.
	ElectionTimeout time.Duration
}

// Limits bound what a node keeps in memory, and what it accepts. Zero values are replaced by the
// defaults.
type Limits struct {
	// MaxRequestBytes is the size of the largest command, at most 513 MiB and at most
	// MaxUncommittedBytes. A member holds it in memory several times while it is replicated, and must
	// be able to write it to disk within an election timeout. Default 1.5 MiB.
	MaxRequestBytes uint64
	// MaxPendingRequests bounds the commands of this node that wait for their result. Default 65536.
	MaxPendingRequests int
	// MaxPendingBytes bounds their size; the last one may exceed it. Default 64 MiB, or twice
	// MaxRequestBytes.
	MaxPendingBytes uint64
	// MaxPendingReads bounds the reads of this node that wait. Default 65536.
	MaxPendingReads int
	// MaxUncommittedBytes bounds the entries in a leader's log that are not committed, or not on the
	// leader's own disk. Default 64 MiB, or twice MaxRequestBytes.
	MaxUncommittedBytes uint64
	// LogMemoryBytes bounds the newest durable entries that are kept in memory for members that are a
	// little behind. Default 16 MiB.
	LogMemoryBytes uint64
	// MaxInFlightBytes bounds the entries that were sent to one peer and not acknowledged; the last
	// request may exceed it. Default 16 MiB, or 1 MiB over Proto.Actor's remote.
	MaxInFlightBytes uint64
	// DiskLowWater is in bytes. A leader whose disk has less free space refuses writes with
	// ErrDiskFull. Default 256 MiB.
	DiskLowWater uint64
}

// withDefaults replaces zero values by the defaults.
func (c Config) withDefaults() Config {
	inFlight := uint64(defaults.MaxInFlightBytes)
	if c.PeerLink != nil && c.PeerLink.ProtoRemote {
		inFlight = defaults.RemoteInFlightBytes
	}
	c.Timing = Timing(member.Timing(c.Timing).WithDefaults())
	c.Limits.MaxInFlightBytes = cmp.Or(c.Limits.MaxInFlightBytes, inFlight)
	if c.Limits.MaxRequestBytes == 0 && c.Limits.MaxUncommittedBytes != 0 {
		c.Limits.MaxRequestBytes = min(defaults.MaxRequestBytes, c.Limits.MaxUncommittedBytes)
	}
	c.Limits = Limits(member.Limits(c.Limits).WithDefaults())
	if c.FS == nil {
		c.FS = vfs.OS()
	}
	return c
}

// validate checks that whatever is accepted as a command can be written to the log, sent to every
// member and committed. The limits must have their defaults.
func (l Limits) validate() error {
	switch {
	case l.MaxRequestBytes > raft.MaxCommandBytes:
		return fmt.Errorf("troupe: Limits.MaxRequestBytes is %d, and the log and the messages between members carry a command of "+
			"at most %d: lower it", l.MaxRequestBytes, uint64(raft.MaxCommandBytes))
	case l.MaxRequestBytes > l.MaxUncommittedBytes:
		return fmt.Errorf("troupe: Limits.MaxRequestBytes is %d and Limits.MaxUncommittedBytes %d: a leader under load would never take "+
			"a command of that size; raise the second, or lower the first", l.MaxRequestBytes, l.MaxUncommittedBytes)
	}
	return nil
}

// validate returns an error that says what is wrong with a configuration, and how to mend it.
func (c Config) validate() error {
	switch {
	case c.ID == 0:
		return errors.New("troupe: Config.ID is 0: give the member an id")
	case c.StateMachine == nil:
		return errors.New("troupe: Config.StateMachine is nil: give a function that opens the state machine")
	case c.DataDir == "":
		return errors.New("troupe: Config.DataDir is empty: name a directory")
	case (c.Network == nil) == (c.PeerLink == nil):
		return errors.New("troupe: set exactly one of Config.Network (nodes of this process) and Config.PeerLink (other processes)")
	case c.PeerLink != nil && len(c.PeerLink.Listeners) == 0:
		return errors.New("troupe: Config.PeerLink.Listeners is empty: give a listener on the member's address")
	case c.PeerLink != nil && c.PeerLink.MaxConnections < 0:
		return fmt.Errorf("troupe: Config.PeerLink.MaxConnections is %d: give 0 for the default, or at least 1", c.PeerLink.MaxConnections)
	case c.Timing.HeartbeatInterval <= 0 || c.Timing.ElectionTimeout < 3*c.Timing.HeartbeatInterval:
		return fmt.Errorf("troupe: the election timeout is %v and the heartbeat interval %v: it must be at least three times as long",
			c.Timing.ElectionTimeout, c.Timing.HeartbeatInterval)
	}
	if err := c.Limits.validate(); err != nil {
		return err
	}
	first := c.initialConfiguration()
	if raft.FindMember(first, c.ID) == nil {
		return fmt.Errorf("troupe: Config.Members does not contain this member, %s: list every member of the new cluster",
			raft.FormatID(c.ID))
	}
	return raft.ValidateConfiguration(first)
}
