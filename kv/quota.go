package kv

import (
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// quota refuses what would add data while the live data of this member's store is above --quota-backend-bytes. Unlike
// etcd's it counts live data, not the file's size; and it ends by itself once deletes and compaction have made room: there
// is no alarm to disarm and nothing to defragment.
//
// It is looked at every quotaCheckInterval, since asking the engine costs more than a put: a client can be above it by what it
// writes in that time. Each member decides for the requests given to it, as its own store is what would grow full; the
// replicated state does not know of quotas, so members may differ in it without parting.
type quota struct {
	limitBytes int64 // below 1: none
	store      *StoreRef
	log        zerolog.Logger
	over       atomic.Bool
}

const quotaCheckInterval = 250 * time.Millisecond

// exceeded tells whether writes that add data are to be refused.
func (q *quota) exceeded() bool { return q.over.Load() }

// run keeps watch until ending is closed.
func (q *quota) run(ending <-chan struct{}) {
	ticker := time.NewTicker(quotaCheckInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			q.check()
		case <-ending:
			return
		}
	}
}

func (q *quota) check() {
	store := q.store.ifOpen()
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
			Msg("the data is above its quota: puts are refused; delete keys and compact, or start with a larger --quota-backend-bytes")
		return
	}
	q.log.Info().Int64("data_bytes", used).Int64("quota_backend_bytes", q.limitBytes).Msg("the data is below its quota again: puts are taken")
}

// adds tells whether a transaction may add data: whether there is a put anywhere in it.
func txnHasPut(r *pb.TxnRequest) bool {
	for _, ops := range [][]*pb.RequestOp{r.GetSuccess(), r.GetFailure()} {
		for _, op := range ops {
			if op.GetRequestPut() != nil || op.GetRequestTxn() != nil && txnHasPut(op.GetRequestTxn()) {
				return true
			}
		}
	}
	return false
}
