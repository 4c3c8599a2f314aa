package kv

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// Limits of the client port as the label of troupe_client_refused_total (docs/limits.md).
const (
	limitRequestBytes  = "max-request-bytes"
	limitTxnOps        = "max-txn-ops"
	limitInFlight      = "requests-in-flight"
	limitStreams       = "open-streams"
	limitWatchers      = "watchers-of-a-stream"
	limitResponseBytes = "max-response-bytes"
	limitQuota         = "quota-backend-bytes"
)

var clientLimits = []string{
	limitRequestBytes, limitTxnOps, limitInFlight, limitStreams, limitWatchers, limitResponseBytes, limitQuota,
}

// refusalCounter counts the refusals of one limit, for the metrics and for conditionLog.
type refusalCounter struct {
	prometheus.Counter
	total atomic.Uint64
}

// Inc counts a refusal.
func (c *refusalCounter) Inc() {
	c.Counter.Inc()
	c.total.Add(1)
}

// semaphore limits how many of something there are at a time. It never blocks.
type semaphore struct {
	limit   int64
	held    atomic.Int64
	refused prometheus.Counter
}

// tryAcquire reports whether there was space, and counts a refusal otherwise. After true the caller
// must call release.
func (t *semaphore) tryAcquire() bool {
	if t.held.Add(1) <= t.limit {
		return true
	}
	t.held.Add(-1)
	t.refused.Inc()
	return false
}

func (t *semaphore) release() { t.held.Add(-1) }

// errTooManyRequests is the error of a call above MaxRequestsInFlight or MaxOpenStreams.
var errTooManyRequests = rpctypes.ErrGRPCRequestTooManyRequests
