package kv

import (
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/troupe-raft/troupe"
	"github.com/troupe-raft/troupe/raft"
)

// errDiskFull is the error of a write that the leader refused for lack of disk space. It is not
// etcd's ErrGRPCNoSpace, `database space exceeded`, which is about the quota: its ways out, to
// compact, to defragment and to disarm, do not help a full disk.
var errDiskFull = status.Error(codes.ResourceExhausted, "troupe: the leader's disk is almost full, so writes are refused; make room on it")

// diskFull returns errDiskFull with the disk in it: its path if this member leads, and else the
// leader, whose log has the path.
func (c *ServerConfig) diskFull(node troupe.Status) error {
	if node.LeaderID == node.ID && c.DataDir != "" {
		return status.Errorf(codes.ResourceExhausted, "troupe: the disk of %s is almost full (less than %d MiB free), "+
			"so writes are refused; make room on it", c.DataDir, c.DiskLowWaterBytes>>20)
	}
	for _, m := range node.Members {
		if m.ID == node.LeaderID {
			return status.Errorf(codes.ResourceExhausted, "troupe: the disk of the leader, member %q (%s), is almost full, "+
				"so writes are refused; make room on it: the leader's log names its directory", m.Name, raft.FormatID(m.ID))
		}
	}
	return errDiskFull
}

// diskFullInstead returns the error of diskFull for a write that the leader refused for lack of
// disk space, and nil for another failure.
func (c *ServerConfig) diskFullInstead(err error) error {
	if !errors.Is(err, troupe.ErrDiskFull) {
		return nil
	}
	return c.diskFull(c.Consensus.Status())
}
