package kv

import (
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/troupe-raft/troupe/kv/mvcc"
)

// quota refuses puts while the live data of this member's store is above --quota-backend-bytes.
// Unlike etcd's quota it counts live data and not the size of a file, and it ends by itself once
// deletes and compaction have freed space: there is no alarm to disarm and nothing to defragment.
//
// The size is checked every quotaCheckInterval, since asking the engine costs more than a put; a
// client can exceed the quota by what it writes in that time. Each member decides on the requests
// of its own clients. The quota is not part of the replicated state, so members may differ in it.
type quota struct {
	limitBytes int64 // below 1: no quota
	store      *mvcc.StoreRef
	log        zerolog.Logger
	over       atomic.Bool
}

const quotaCheckInterval = 250 * time.Millisecond

// exceeded reports whether puts are to be refused.
func (q *quota) exceeded() bool { return q.over.Load() }

// run checks the size until done is closed.
func (q *quota) run(done <-chan struct{}) {
	ticker := time.NewTicker(quotaCheckInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			q.check()
		case <-done:
			return
		}
	}
}

func (q *quota) check() {
	store := q.store.IfOpen()
	if store == nil {
		return
	}
	_, used := store.Size()
	over := used > q.limitBytes
	if q.over.Swap(over) == over {
		return
	}
	if over {
		q.log.Warn().Int64("data_bytes", used).Int64("quota_backend_bytes", q.limitBytes).
			Str("advice", "delete keys and compact, or restart with a larger --quota-backend-bytes").
			Msg("data is above the quota, puts are refused")
		return
	}
	q.log.Info().Int64("data_bytes", used).Int64("quota_backend_bytes", q.limitBytes).
		Msg("data is below the quota again, puts are accepted")
}
