package kv

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// The limits of the client port that refuse, as the metric troupe_client_refused_total calls them (docs/limits.md).
const (
	limitRequestBytes  = "max-request-bytes"
	limitTxnOps        = "max-txn-ops"
	limitInFlight      = "requests-in-flight"
	limitStreams       = "open-streams"
	limitWatchers      = "watchers-of-a-stream"
	limitResponseBytes = "max-answer-bytes"
	limitQuota         = "quota-backend-bytes"
)

var clientLimits = []string{limitRequestBytes, limitTxnOps, limitInFlight, limitStreams, limitWatchers, limitResponseBytes, limitQuota}

// turnstile lets as many through at a time as its limit.
type semaphore struct {
	limit   int64
	held    atomic.Int64
	refused prometheus.Counter
}

// enter is false, and counts it, if there is no room; else leave must be called.
func (t *semaphore) tryAcquire() bool {
	if t.held.Add(1) <= t.limit {
		return true
	}
	t.held.Add(-1)
	t.refused.Inc()
	return false
}

func (t *semaphore) release() { t.held.Add(-1) }

// errTooManyRequests is told to who comes above a limit on what goes on at a time.
var errTooManyRequests = rpctypes.ErrGRPCRequestTooManyRequests
