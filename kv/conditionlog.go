package kv

import (
	"time"

	"github.com/rs/zerolog"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/troupe-raft/troupe"
	"github.com/troupe-raft/troupe/raft"
)

// conditionLog logs when this member begins and ends to refuse requests: each alarm, and each limit
// that refuses some. That is two lines, however many requests are refused between them; a client
// has an error for each. It does the same for messages to a peer that a full queue drops.
type conditionLog struct {
	services *services
	alarms   []*alarmCause
	limits   map[string]*reachedLimit
	peers    map[uint64]*peerQueue
}

// peerQueue is what is known of the queue to a peer.
type peerQueue struct {
	reachedLimit
	up bool // at the last check
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
	return &conditionLog{services: s, limits: map[string]*reachedLimit{}, peers: map[uint64]*peerQueue{}, alarms: []*alarmCause{
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
		metrics := m.Metrics()
		for _, r := range metrics.Refusals {
			l.checkLimit(r.Limit, r.Count, now)
		}
		for _, link := range metrics.Links {
			l.checkPeer(link, now)
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
	began, ended := limit.update(refused, now)
	switch {
	case began:
		l.services.config.Logger.Warn().Str("limit", name).Uint64("refused", limit.refused-limit.before).
			Str("advice", adviceOfLimit(name)).Msg("requests are refused, a limit is reached")
	case ended:
		limit.addSum(l.services.config.Logger.Info().Str("limit", name), "refused").Msg("no more requests are refused at the limit")
	}
}

// checkPeer looks at what was dropped since the last check while the peer was connected: what is
// dropped for one that is away has lines about its connection.
func (l *conditionLog) checkPeer(link troupe.LinkMetrics, now time.Time) {
	q := l.peers[link.PeerID]
	if q == nil {
		q = &peerQueue{}
		l.peers[link.PeerID] = q
	}
	if !q.up || !link.Up {
		q.up, q.refused = link.Up, link.EnvelopesDropped
	}
	began, ended := q.update(link.EnvelopesDropped, now)
	peer := raft.FormatID(link.PeerID)
	switch {
	case began:
		l.services.config.Logger.Warn().Str("peer", peer).Uint64("dropped", q.refused-q.before).
			Str("advice", "the peer, or the network to it, is slower than what it is sent; what was dropped is sent again").
			Msg("messages to a peer are dropped, its queue is full")
	case ended:
		q.addSum(l.services.config.Logger.Info().Str("peer", peer), "dropped").Msg("no more messages to the peer are dropped")
	}
}

// update takes the number of refusals, and reports whether the limit began or ended to refuse.
func (r *reachedLimit) update(refused uint64, now time.Time) (began, ended bool) {
	switch {
	case refused > r.refused:
		if began = !r.reached; began {
			r.reached, r.since, r.before = true, now, r.refused
		}
		r.refused, r.last = refused, now
	case r.reached && now.Sub(r.last) >= refusalQuietTime:
		r.reached, ended = false, true
	}
	return began, ended
}

// addSum adds how many were refused, and for how long.
func (r *reachedLimit) addSum(line *zerolog.Event, name string) *zerolog.Event {
	return line.Uint64(name, r.refused-r.before).Dur("lasted", r.last.Sub(r.since))
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
