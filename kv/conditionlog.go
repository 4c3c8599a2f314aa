package kv

import (
	"time"

	"github.com/rs/zerolog"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/troupe-raft/troupe"
)

// conditionLog logs when this member begins and ends to refuse requests: each alarm, and each limit
// that refuses some. That is two lines, however many requests are refused between them; a client
// has an error for each.
type conditionLog struct {
	services *services
	alarms   []*alarmCause
	limits   map[string]*reachedLimit
}

const (
	// conditionInterval is how often the conditions are looked at.
	conditionInterval = 250 * time.Millisecond
	// refusalQuietTime is how long a limit must refuse nothing until it counts as no longer reached.
	refusalQuietTime = time.Minute
)

// alarmCause is one of the causes of an alarm.
type alarmCause struct {
	cause, advice string
	holds         func(troupe.Status) bool
	addSizes      func(*zerolog.Event) *zerolog.Event
	raised        bool // as logged last
}

// reachedLimit is what is known of a limit.
type reachedLimit struct {
	refused uint64 // in all
	before  uint64 // refused before it was reached
	reached bool   // as logged last
	since   time.Time
	last    time.Time // of the last refusal seen
}

func newConditionLog(s *services) *conditionLog {
	c := &s.config
	return &conditionLog{services: s, limits: map[string]*reachedLimit{}, alarms: []*alarmCause{
		{
			cause: "the disk is below the low-water mark, writes are refused", advice: "make room on the disk of the data directory; the alarm ends by itself",
			holds: func(node troupe.Status) bool { return node.DiskLow },
			addSizes: func(e *zerolog.Event) *zerolog.Event {
				return e.Str("data_dir", c.DataDir).Uint64("disk_low_water_bytes", c.DiskLowWaterBytes)
			},
		},
		{
			cause:  "live data have reached the quota, puts are refused",
			advice: "delete keys and compact (troupe compact), or restart the members with a larger --quota-backend-bytes; the alarm ends by itself",
			holds:  func(troupe.Status) bool { return s.quota.exceeded() },
			addSizes: func(e *zerolog.Event) *zerolog.Event {
				if store := c.Store.IfOpen(); store != nil {
					e = e.Int64("live_bytes", store.LiveBytes())
				}
				return e.Int64("quota_backend_bytes", s.quota.limitBytes)
			},
		},
	}}
}

// run logs changes until done is closed.
func (l *conditionLog) run(done <-chan struct{}) {
	ticker := time.NewTicker(conditionInterval)
	defer ticker.Stop()
	for {
		select {
		case now := <-ticker.C:
			l.check(now)
		case <-done:
			return
		}
	}
}

func (l *conditionLog) check(now time.Time) {
	node := l.services.config.Consensus.Status()
	for _, a := range l.alarms {
		if holds := a.holds(node); holds != a.raised {
			a.raised = holds
			l.logAlarm(a)
		}
	}
	for _, limit := range clientLimits {
		if limit != limitQuota { // it is an alarm
			l.checkLimit(limit, l.services.metrics.refused[limit].total.Load(), now)
		}
	}
	if m, ok := l.services.config.Consensus.(metricsSource); ok {
		for _, r := range m.Metrics().Refusals {
			l.checkLimit(r.Limit, r.Count, now)
		}
	}
}

func (l *conditionLog) logAlarm(a *alarmCause) {
	line, message := l.services.config.Logger.Info(), "alarm ended"
	if a.raised {
		line, message = l.services.config.Logger.Warn().Str("advice", a.advice), "alarm raised"
	}
	a.addSizes(line.Stringer("alarm", pb.AlarmType_NOSPACE).Str("cause", a.cause)).Msg(message)
}

func (l *conditionLog) checkLimit(name string, refused uint64, now time.Time) {
	limit := l.limits[name]
	if limit == nil {
		limit = &reachedLimit{}
		l.limits[name] = limit
	}
	switch {
	case refused > limit.refused:
		if !limit.reached {
			limit.reached, limit.since, limit.before = true, now, limit.refused
			l.services.config.Logger.Warn().Str("limit", name).Uint64("refused", refused-limit.before).
				Str("advice", adviceOfLimit(name)).Msg("requests are refused, a limit is reached")
		}
		limit.refused, limit.last = refused, now
	case limit.reached && now.Sub(limit.last) >= refusalQuietTime:
		limit.reached = false
		l.services.config.Logger.Info().Str("limit", name).Uint64("refused", limit.refused-limit.before).
			Dur("lasted", limit.last.Sub(limit.since)).Msg("no more requests are refused at the limit")
	}
}

// adviceOfLimit returns what to do when a limit refuses requests. docs/limits.md lists the limits.
func adviceOfLimit(name string) string {
	switch name {
	case limitRequestBytes:
		return "let clients send smaller requests, or raise --max-request-bytes on every member"
	case limitTxnOps:
		return "let clients send smaller transactions, or raise --max-txn-ops on every member"
	case limitResponseBytes:
		return "let clients read less at a time, or raise --max-response-bytes"
	case limitWatchers:
		return "let the client use more than one stream"
	case "DiskLowWater":
		return "make room on the disk of the leader: its log names the directory"
	}
	return "reduce the load, or spread it over the members; docs/limits.md says what the limit bounds"
}
