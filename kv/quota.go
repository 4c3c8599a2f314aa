package kv

import (
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/troupe-raft/troupe/kv/mvcc"
)

// quota refuses puts while the live data of this member's store reaches --quota-backend-bytes.
//
// Live data are the keys and values of every revision that is not compacted, before compression, as
// the store counts them (mvcc.Store.LiveBytes). So the quota means the same for any values, the
// count is exact at each put, and it falls as compaction removes rows: there is no alarm to disarm,
// and no need to defragment. etcd's quota counts the size of a file, with the pages in it that are
// free.
//
// Each member decides on the requests of its own clients. The quota is not part of the replicated
// state, so members may differ in it. A client can exceed it by what is proposed and not applied.
type quota struct {
	limitBytes int64 // below 1: no quota
	store      *mvcc.StoreRef
	log        zerolog.Logger
	logged     bool        // of run: the quota was exceeded at the last check
	last       atomic.Bool // the quota was exceeded when a store was last open
}

// quotaLogInterval is how often run looks whether there is a change to log.
const quotaLogInterval = 250 * time.Millisecond

// exceeded reports whether puts are to be refused.
func (q *quota) exceeded() bool {
	if q.limitBytes < 1 {
		return false
	}
	store := q.store.IfOpen()
	if store == nil {
		return q.last.Load()
	}
	over := store.LiveBytes() >= q.limitBytes
	if q.last.Load() != over {
		q.last.Store(over)
	}
	return over
}

// run logs changes until done is closed.
func (q *quota) run(done <-chan struct{}) {
	ticker := time.NewTicker(quotaLogInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			q.logChange()
		case <-done:
			return
		}
	}
}

func (q *quota) logChange() {
	over := q.exceeded()
	if q.logged == over {
		return
	}
	q.logged = over
	line := q.log.Info()
	if over {
		line = q.log.Warn().Str("advice", "delete keys and compact, or restart with a larger --quota-backend-bytes")
	}
	if store := q.store.IfOpen(); store != nil {
		line = line.Int64("live_bytes", store.LiveBytes())
	}
	line = line.Int64("quota_backend_bytes", q.limitBytes)
	if over {
		line.Msg("live data have reached the quota, puts are refused")
		return
	}
	line.Msg("live data are below the quota again, puts are accepted")
}
