package kv

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// The limits of the client port that refuse, as the metric troupe_client_refused_total calls them (docs/limits.md).
const (
	limitRequestBytes = "max-request-bytes"
	limitTxnOps       = "max-txn-ops"
	limitInFlight     = "requests-in-flight"
	limitStreams      = "open-streams"
	limitWatchers     = "watchers-of-a-stream"
	limitAnswers      = "max-answer-bytes"
	limitQuota        = "quota-backend-bytes"
)

var clientLimits = []string{limitRequestBytes, limitTxnOps, limitInFlight, limitStreams, limitWatchers, limitAnswers, limitQuota}

// turnstile lets as many through at a time as its limit.
type turnstile struct {
	limit   int64
	inside  atomic.Int64
	refused prometheus.Counter
}

// enter is false, and counts it, if there is no room; else leave must be called.
func (t *turnstile) enter() bool {
	if t.inside.Add(1) <= t.limit {
		return true
	}
	t.inside.Add(-1)
	t.refused.Inc()
	return false
}

func (t *turnstile) leave() { t.inside.Add(-1) }

// tooMany is told to who comes above a limit on what goes on at a time.
var tooMany = rpctypes.ErrGRPCRequestTooManyRequests
