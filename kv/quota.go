package kv

import (
	"sync/atomic"

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
	last       atomic.Bool // the quota was exceeded when a store was last open
}

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
