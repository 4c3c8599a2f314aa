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

// Options say what to demonstrate.
type Options struct {
	// Members is how many servers; 0: three, or what DataDir holds.
	Members int
	// DataDir is kept; "" is a temporary one, removed at the end.
	DataDir  string
	BasePort int
	// Restart starts a member again that has died.
	Restart bool

	// Binary is run as `Binary server …`.
	Binary string
	// Called is how the reader calls the binary: what the examples that are printed begin with.
	Called string
	Out    io.Writer
}

// readyTime is what all members have, together, to become ready.
const readyTime = time.Minute

// Run runs the cluster until the context ends, and stops it then.
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

// demo is a demonstration under way. All its state belongs to the goroutine of run.
type demo struct {
	options Options
	dir     string
	members []Member
	events  chan event

	introduced bool
	pids       map[string]int
	readied    int

	leader string    // the latest one told
	lostAt time.Time // when the process of the leader died; zero while it lives
	gaveUp int       // members that cannot be started

	// successor leads already, while the end of the former leader's process has not come to our ears yet: a moment is
	// waited for it, so that cause and effect are told in their order.
	successor *leadership
	patience  *time.Timer
}

func (d *demo) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	for _, m := range d.members {
		c := &child{member: m, binary: d.options.Binary, tell: func(e event) { d.events <- e }}
		running.Add(1)
		go func() {
			defer running.Done()
			c.run(ctx, d.options.Restart)
		}()
	}
	leaders := make(chan leadership, 1)
	go watchLeader(ctx, d.members, leaders)
	err := d.follow(ctx, leaders)
	if d.introduced || err == nil {
		fmt.Fprintf(d.options.Out, "\nStopping %d servers …\n", len(d.members))
	}
	cancel()
	done := make(chan struct{})
	go func() { running.Wait(); close(done) }()
	for {
		select {
		case <-d.events: // nobody looks any more; a member must not wait for it
		case <-done:
			d.printSummary(err)
			return err
		}
	}
}

// follow tells what happens until the context ends, or nothing more can.
func (d *demo) follow(ctx context.Context, leaders <-chan leadership) error {
	d.patience = time.NewTimer(0)
	defer d.patience.Stop()
	tooLate := time.NewTimer(readyTime)
	defer tooLate.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tooLate.C:
			if !d.introduced {
				return fmt.Errorf("%d of %d servers were not ready within %v; their logs are in %s", len(d.members)-d.readied, len(d.members), readyTime, d.dir)
			}
		case e := <-d.events:
			if err := d.handleEvent(e); err != nil {
				return err
			}
		case l := <-leaders:
			d.handleLeadership(l)
		case <-d.patience.C:
			d.updateLeader() // the former leader lives: it was not death that ended its term
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
		d.readied++
		if d.introduced {
			d.printf(e.at, "%s is back and serves clients", e.member)
		}
		d.printIntroductionIfReady()
	case noted:
		d.printf(e.at, "%s: %s", e.member, e.text)
	case died:
		d.printf(e.at, "%s (process %d) died: %s%s", e.member, e.pid, e.text, d.nextSteps(e.member))
		if e.member == d.leader && d.lostAt.IsZero() {
			d.lostAt = e.at
			d.updateLeader()
		}
	case gaveUp:
		d.gaveUp++
		d.printf(e.at, "%s cannot be started: %s", e.member, e.text)
		if !d.introduced || d.gaveUp == len(d.members) {
			return errors.New("the demo needs servers that start; see above")
		}
	}
	return nil
}

// leads hears of a new leader.
func (d *demo) handleLeadership(l leadership) {
	if !d.introduced {
		d.leader = l.member
		d.printIntroductionIfReady()
		return
	}
	d.successor = &l
	if d.lostAt.IsZero() && l.member != d.leader {
		d.patience.Reset(successorTime)
		return
	}
	d.updateLeader()
}

// successorTime is how long the news of a leader's death may take to follow that of its successor.
const successorTime = 500 * time.Millisecond

// crown tells of the new leader, and how long there was none.
func (d *demo) updateLeader() {
	l := d.successor
	if l == nil {
		return
	}
	pause := ""
	if !d.lostAt.IsZero() {
		pause = fmt.Sprintf(", %d ms after %s died", max(0, l.at.Sub(d.lostAt).Milliseconds()), d.leader)
	}
	d.printf(l.at, "%s leads now (term %d)%s", l.member, l.term, pause)
	d.leader, d.lostAt, d.successor = l.member, time.Time{}, nil
}

// printIntroductionIfReady introduces the cluster once there is one: all members serve, and one of them leads.
func (d *demo) printIntroductionIfReady() {
	if !d.introduced && d.readied >= len(d.members) && d.leader != "" {
		d.printIntroduction()
	}
}

func (d *demo) printf(at time.Time, format string, values ...any) {
	fmt.Fprintf(d.options.Out, "%s  %s\n", at.Format("15:04:05.000"), fmt.Sprintf(format, values...))
}
