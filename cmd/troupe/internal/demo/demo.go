package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// Options are the settings of a demo.
type Options struct {
	// Members is the number of servers; 0 means three, or the number of an earlier run in DataDir.
	Members int
	// DataDir keeps data and logs; "" means a temporary directory that is removed at the end.
	DataDir string
	// BasePort is the first port; 0 means that the demo chooses (see ChoosePorts).
	BasePort int
	// Restart starts a member again when its process ends.
	Restart bool

	// Binary is the path of the program that is run as `Binary server …`.
	Binary string
	// Called is the command with which the printed examples begin.
	Called string
	Out    io.Writer
}

// readyTimeout limits the time until all members are ready.
const readyTimeout = time.Minute

// Run runs the cluster until the context ends, and then stops it and returns nil. It returns an
// error if the members do not start or do not become ready within a minute.
func Run(ctx context.Context, o Options) error {
	dir, remove, err := o.directory()
	if err != nil {
		return err
	}
	defer remove()
	members, err := Prepare(dir, o.Members, o.BasePort)
	if err != nil {
		return err
	}
	d := &demo{options: o, dir: dir, members: members, events: make(chan event, 64), pids: map[string]int{}}
	fmt.Fprintf(o.Out, "Starting %d servers …\n", len(members))
	return d.run(ctx)
}

func (o Options) directory() (dir string, remove func(), err error) {
	if o.DataDir != "" {
		return o.DataDir, func() {}, nil
	}
	dir, err = os.MkdirTemp("", "troupe-demo-")
	if err != nil {
		return "", nil, fmt.Errorf("making a directory: %w", err)
	}
	return dir, func() { _ = os.RemoveAll(dir) }, nil
}

// demo is a running demo. All its state belongs to the goroutine of run.
type demo struct {
	options Options
	dir     string
	members []Member
	events  chan event

	introduced  bool
	pids        map[string]int
	readyCount  int
	failedCount int // members that cannot be started

	leader string    // the latest leader that was printed
	lostAt time.Time // when the process of leader ended; zero while it runs

	// successor is a new leader that is not printed yet. The demo waits successorDelay for the end of
	// the former leader's process, so that it prints cause and effect in their order.
	successor      *leadership
	successorTimer *time.Timer
}

func (d *demo) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	for _, m := range d.members {
		c := &child{member: m, binary: d.options.Binary, send: func(e event) { d.events <- e }}
		running.Go(func() { c.run(ctx, d.options.Restart) })
	}
	leaders := make(chan leadership, 1)
	go watchLeader(ctx, d.members, leaders)
	err := d.printEvents(ctx, leaders)
	if d.introduced || err == nil {
		fmt.Fprintf(d.options.Out, "\nStopping %d servers …\n", len(d.members))
	}
	cancel()
	done := make(chan struct{})
	go func() { running.Wait(); close(done) }()
	for {
		select {
		case <-d.events: // dropped, so that no member waits for the channel
		case <-done:
			d.printSummary(err)
			return err
		}
	}
}

// printEvents prints events until the context ends or no member can be started.
func (d *demo) printEvents(ctx context.Context, leaders <-chan leadership) error {
	d.successorTimer = time.NewTimer(0)
	defer d.successorTimer.Stop()
	timeout := time.NewTimer(readyTimeout)
	defer timeout.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timeout.C:
			if !d.introduced {
				return fmt.Errorf("%d of %d servers were not ready within %v; see their logs in %s",
					len(d.members)-d.readyCount, len(d.members), readyTimeout, d.dir)
			}
		case e := <-d.events:
			if err := d.handleEvent(e); err != nil {
				return err
			}
		case l := <-leaders:
			d.handleLeadership(l)
		case <-d.successorTimer.C:
			d.updateLeader() // the process of the former leader still runs
		}
	}
}

func (d *demo) handleEvent(e event) error {
	switch e.kind {
	case started:
		d.pids[e.member] = e.pid
		if d.introduced {
			d.printf(e.at, "%s started again as process %d", e.member, e.pid)
		}
	case ready:
		d.readyCount++
		if d.introduced {
			d.printf(e.at, "%s serves clients again", e.member)
		}
		d.printIntroductionIfReady()
	case logged:
		d.printf(e.at, "%s: %s", e.member, e.text)
	case exited:
		d.printf(e.at, "%s (process %d) ended: %s%s", e.member, e.pid, e.text, d.nextSteps(e.member))
		if e.member == d.leader && d.lostAt.IsZero() {
			d.lostAt = e.at
			d.updateLeader()
		}
	case failed:
		d.failedCount++
		d.printf(e.at, "%s cannot be started: %s", e.member, e.text)
		if !d.introduced || d.failedCount == len(d.members) {
			return errors.New("the servers cannot be started; see the lines above")
		}
	}
	return nil
}

// handleLeadership records a new leader and prints it once the cause is known.
func (d *demo) handleLeadership(l leadership) {
	if !d.introduced {
		d.leader = l.member
		d.printIntroductionIfReady()
		return
	}
	d.successor = &l
	if d.lostAt.IsZero() && l.member != d.leader {
		d.successorTimer.Reset(successorDelay)
		return
	}
	d.updateLeader()
}

// successorDelay is the time by which the end of a leader's process may be noticed after its
// successor.
const successorDelay = 500 * time.Millisecond

// updateLeader prints the new leader, and the time since the former leader's process ended.
func (d *demo) updateLeader() {
	l := d.successor
	if l == nil {
		return
	}
	pause := ""
	if !d.lostAt.IsZero() {
		pause = fmt.Sprintf(", %d ms after %s ended", max(0, l.at.Sub(d.lostAt).Milliseconds()), d.leader)
	}
	d.printf(l.at, "%s is the leader (term %d)%s", l.member, l.term, pause)
	d.leader, d.lostAt, d.successor = l.member, time.Time{}, nil
}

// printIntroductionIfReady prints the introduction once all members serve and one of them leads.
func (d *demo) printIntroductionIfReady() {
	if !d.introduced && d.readyCount >= len(d.members) && d.leader != "" {
		d.printIntroduction()
	}
}

func (d *demo) printf(at time.Time, format string, values ...any) {
	fmt.Fprintf(d.options.Out, "%s  %s\n", at.Format("15:04:05.000"), fmt.Sprintf(format, values...))
}
