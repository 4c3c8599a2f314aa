package client

import (
	"context"
	"fmt"
)

// watchLosses reports why a watch is interrupted, from one response to the next. The watch tries
// its endpoints without end, so each loss of an endpoint is reported once, and that none serves the
// watch is reported once.
type watchLosses struct {
	report         func(error)
	endpoints      int
	lost           map[Endpoint]bool
	leaderless     *NoLeaderError
	reportedAll    bool // that no endpoint serves the watch
	reportedAbsent bool // that no endpoint can be reached
}

func newWatchLosses(report func(error), endpoints int) *watchLosses {
	return &watchLosses{report: report, endpoints: endpoints, lost: map[Endpoint]bool{}, leaderless: &NoLeaderError{}}
}

const watchWaits = "the watch waits, and continues by itself"

// add reports that the watch at an endpoint ended with an error.
func (l *watchLosses) add(ctx context.Context, conn *connection, err error) {
	again := l.lost[conn.endpoint]
	l.lost[conn.endpoint] = true
	reason := fmt.Sprintf("%s: %s", conn.endpoint, plainText(err))
	if isNoLeader(err) {
		conn.explainNoLeader(ctx, l.leaderless)
		reason = fmt.Sprintf("no leader is known to %s", conn.endpoint)
	}
	switch {
	case !again && len(l.lost) < l.endpoints:
		l.report(fmt.Errorf("%s; trying the next endpoint", reason))
	case l.reportedAll:
	case len(l.leaderless.Asked) > 0:
		l.reportedAll = true
		l.report(fmt.Errorf("%s%s; %s", l.leaderless.known(), l.leaderless.advice(), watchWaits))
	default:
		l.reportedAll = true
		l.report(fmt.Errorf("%s; no endpoint serves the watch: it waits, and continues by itself", reason))
	}
}

// unreachable reports that no endpoint can be reached.
func (l *watchLosses) unreachable(err error) {
	if !l.reportedAbsent {
		l.reportedAbsent = true
		l.report(fmt.Errorf("%w; %s", err, watchWaits))
	}
}
