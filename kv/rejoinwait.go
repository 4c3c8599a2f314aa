package kv

import (
	"sync/atomic"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// rejoinWait refuses what is served from this member's store alone while the member waits to
// rejoin: its data directory is empty and receives nothing, so that every key would seem not to
// exist. A member that merely lags is not refused: its store is a state that the cluster had.
//
// The error is that of a member without a leader, on which clients try another member. The health
// endpoints do not ask: a restart of the process by an orchestrator would not end the wait.
type rejoinWait struct {
	consensus Consensus
	// ended is set once the member does not wait, which it never does again in this process. It keeps
	// Status off the path of every read.
	ended atomic.Bool
}

// refuse returns the error of a request that this member must not serve; nil if it may.
func (w *rejoinWait) refuse() error {
	if w.ended.Load() {
		return nil
	}
	if w.consensus.Status().Rejoining {
		return rpctypes.ErrGRPCNoLeader
	}
	w.ended.Store(true)
	return nil
}
