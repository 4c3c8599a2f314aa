package serve

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/rs/zerolog"

	"github.com/troupe-raft/troupe"
	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/cmd/troupe/internal/exit"
	"github.com/troupe-raft/troupe/cmd/troupe/internal/settings"
)

// serviceManager reports the state of the server to the process that started it, by systemd's
// protocol (sd_notify): a datagram to $NOTIFY_SOCKET. Without that variable it does nothing.
//
//	READY=1                the server serves requests (Type=notify)
//	STOPPING=1             the server is stopping
//	STATUS=…               what it is doing, for `systemctl status`
//	EXTEND_TIMEOUT_USEC=…  the start takes longer: the log or the store is being recovered
//	WATCHDOG=1             the server works, every third of $WATCHDOG_USEC (WatchdogSec=)
//
// A server that waits for a quorum does not extend its start: nobody but the operator can tell
// whether the other members will start.
//
// The server works if its Node handles messages: timers send it some in every heartbeat interval.
// While the node starts, there is no such sign, and the watchdog is fed by time alone.
type serviceManager struct {
	log      zerolog.Logger
	watchdog time.Duration // 0: none
	node     atomic.Pointer[observedNode]
	ready    atomic.Bool
	failed   sync.Once // logs the first notification that could not be sent
	stopped  sync.Once // sends STOPPING=1

	handled, applied uint64 // at the last tick; used by run alone
	done             chan struct{}
	running          sync.WaitGroup
}

// observedNode is what the notifications depend on.
type observedNode interface {
	Status() troupe.Status
	Metrics() troupe.Metrics
}

const (
	startTick      = 5 * time.Second
	startExtension = 30 * time.Second

	minWatchdogHeartbeats = 3
)

// newServiceManager starts the notifications. The caller must call close.
func newServiceManager(log zerolog.Logger) *serviceManager {
	m := &serviceManager{log: log, done: make(chan struct{})}
	var err error
	if m.watchdog, err = daemon.SdWatchdogEnabled(false); err != nil {
		log.Warn().Err(err).Str("advice", "set WatchdogSec= in the unit").Msg("no watchdog of the service manager")
	}
	m.send("STATUS=starting")
	m.running.Go(m.run)
	return m
}

// checkWatchdog warns if the watchdog may expire although the member works: a member without
// requests handles a message in every heartbeat interval, and feeds the watchdog three times.
func (m *serviceManager) checkWatchdog(s *settings.Server) {
	if shortest := minWatchdogHeartbeats * s.Heartbeat; m.watchdog > 0 && m.watchdog < shortest {
		s.Warn("WATCHDOG_USEC", fmt.Sprintf("the watchdog of %v is shorter than %d heartbeats of %v, and may end a member that works",
			m.watchdog, minWatchdogHeartbeats, s.Heartbeat),
			fmt.Sprintf("set WatchdogSec= in the unit to at least %v, or lower --heartbeat-interval", shortest))
	}
}

func (m *serviceManager) close() {
	close(m.done)
	m.running.Wait()
}

// send sends states in one notification.
func (m *serviceManager) send(states ...string) {
	if _, err := daemon.SdNotify(false, strings.Join(states, "\n")); err != nil {
		m.failed.Do(func() {
			m.log.Warn().Err(err).Str("advice", "check that NOTIFY_SOCKET names the socket of the service manager").
				Msg("cannot notify the service manager")
		})
	}
}

// recovered reports that the node runs.
func (m *serviceManager) recovered(node observedNode) {
	m.node.Store(&node)
	m.send("STATUS=waiting for a leader")
}

// serving reports that requests are served.
func (m *serviceManager) serving() {
	m.ready.Store(true)
	m.send(daemon.SdNotifyReady, "STATUS=serving")
}

// stopping reports that the server stops, because of an error or, if it is nil, of a signal. Only
// the first call counts.
func (m *serviceManager) stopping(err error) {
	status := "STATUS=stopping"
	if err != nil {
		status = "STATUS=" + exit.Line(err)
	}
	m.stopped.Do(func() { m.send(daemon.SdNotifyStopping, status) })
}

func (m *serviceManager) run() {
	start := time.NewTicker(startTick)
	defer start.Stop()
	var watchdog <-chan time.Time // blocks forever without a watchdog
	if m.watchdog > 0 {
		ticker := time.NewTicker(max(m.watchdog/3, time.Millisecond))
		defer ticker.Stop()
		watchdog = ticker.C
	}
	for {
		select {
		case <-start.C:
			if m.ready.Load() {
				start.Stop()
			} else if m.recovers() {
				m.send(fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", startExtension.Microseconds()))
			}
		case <-watchdog:
			if m.works() {
				m.send(daemon.SdNotifyWatchdog)
			}
		case <-m.done:
			return
		}
	}
}

// recovers reports whether the log is being read, or entries were applied since the last call.
func (m *serviceManager) recovers() bool {
	node := m.node.Load()
	if node == nil {
		return true
	}
	before := m.applied
	m.applied = (*node).Status().AppliedIndex
	return m.applied > before
}

// works reports whether the Node handled messages since the last call, or has not started.
func (m *serviceManager) works() bool {
	node := m.node.Load()
	if node == nil {
		return true
	}
	before := m.handled
	for _, a := range (*node).Metrics().Actors {
		if a.Name == actors.NodePath {
			m.handled = a.MessagesHandled
		}
	}
	return m.handled != before
}
