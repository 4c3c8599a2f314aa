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
	d := &demo{options: o, dir: dir, members: members, events: make(chan event, 64), pids: map[string]int{}, down: map[string]bool{}}
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
	down       map[string]bool // members that have died and not become ready again

	leader   string    // as last told
	term     uint64    // its term
	lostAt   time.Time // when the process of the leader died; zero while it lives
	attempts int       // members that gave up
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
			d.farewell(err)
			return err
		}
	}
}

// follow tells what happens until the context ends, or nothing more can.
func (d *demo) follow(ctx context.Context, leaders <-chan leadership) error {
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
			if err := d.happened(e); err != nil {
				return err
			}
		case l := <-leaders:
			d.leads(l)
		}
	}
}

func (d *demo) happened(e event) error {
	switch e.kind {
	case started:
		d.pids[e.member] = e.pid
		if d.introduced {
			d.say(e.at, "%s started again as process %d", e.member, e.pid)
		}
	case ready:
		d.readied++
		if d.introduced {
			d.say(e.at, "%s is back and serves clients", e.member)
		} else if d.readied == len(d.members) {
			d.introduce()
		}
		delete(d.down, e.member)
	case noted:
		d.say(e.at, "%s: %s", e.member, e.text)
	case died:
		d.down[e.member] = true
		if e.member == d.leader && d.lostAt.IsZero() {
			d.lostAt = e.at
		}
		d.say(e.at, "%s (process %d) died: %s%s", e.member, e.pid, e.text, d.whatNext(e.member))
	case gaveUp:
		d.attempts++
		d.say(e.at, "%s cannot be started: %s", e.member, e.text)
		if !d.introduced || d.attempts == len(d.members) {
			return errors.New("the demo needs servers that start; see above")
		}
	}
	return nil
}

// leads tells of a new leader, and how long there was none.
func (d *demo) leads(l leadership) {
	if !d.introduced {
		d.leader, d.term = l.member, l.term
		return
	}
	if l.term == d.term {
		return
	}
	pause := ""
	if !d.lostAt.IsZero() {
		pause = fmt.Sprintf(", %d ms after %s died", l.at.Sub(d.lostAt).Milliseconds(), d.leader)
	}
	d.say(l.at, "%s leads now (term %d)%s", l.member, l.term, pause)
	d.leader, d.term, d.lostAt = l.member, l.term, time.Time{}
}

func (d *demo) say(at time.Time, format string, values ...any) {
	fmt.Fprintf(d.options.Out, "%s  %s\n", at.Format("15:04:05.000"), fmt.Sprintf(format, values...))
}
