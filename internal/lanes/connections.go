package lanes

import "time"

// Connections is the state of the connections between this node and one peer. It decides what
// follows from each event: when the link to the peer is up, and which stream of a lane counts.
//
// Each of the two nodes dials the other. A node sends over the connection that it dialed, and
// receives over the one that the peer dialed, on one stream of each lane:
//
//	this node                                    peer
//	dialed        ── both lanes of one connection ──►  two of its streams
//	streams       ◄── both lanes of one connection ──  its dialed
//
// The link is up while this node's own connection is dialed and a stream of each lane is open.
//
// The nodes learn of the end of a connection at different times, and the ends of its streams are
// handled by different goroutines. So a peer may open a lane again before the earlier stream of
// that lane has ended here. The later stream then takes the lane, the earlier one must end
// (Replaced), and its end, which comes later, changes nothing.
//
// S identifies a stream; its zero value stands for none. Nothing here waits or knows a clock. The
// caller (actors/live/link) holds a lock, so that what follows from events happens in their order.
type Connections[S comparable] struct {
	dialed  bool     // both lanes of the connection that this node dialed are open
	streams [Count]S // that the peer opened, and that count
	stopped bool     // the peer is not a member any more, or this node stops
	up      bool
}

// Change is what follows from an event.
type Change[S comparable] struct {
	Replaced S    // a stream that must end since a later one has its lane; zero: none
	Refused  bool // the stream that was opened must end: the connections were stopped before
	// Up and Down: the link has become that. At most one of them is set, and they alternate.
	Up, Down bool
}

// Dialed says that both lanes of the connection that this node dialed are open.
func (c *Connections[S]) Dialed() Change[S] {
	c.dialed = true
	return c.changed(Change[S]{})
}

// DialEnded says that the connection that this node dialed has ended, or was not made.
func (c *Connections[S]) DialEnded() Change[S] {
	c.dialed = false
	return c.changed(Change[S]{})
}

// StreamOpened says that the peer has opened a stream. It takes the lane from an earlier one.
func (c *Connections[S]) StreamOpened(lane Lane, s S) Change[S] {
	change := Change[S]{Replaced: c.streams[lane], Refused: c.stopped}
	c.streams[lane] = s
	return c.changed(change)
}

// StreamClosed says that a stream of the peer has ended, which may have lost its lane before.
func (c *Connections[S]) StreamClosed(lane Lane, s S) Change[S] {
	if c.streams[lane] == s {
		var none S
		c.streams[lane] = none
	}
	return c.changed(Change[S]{})
}

// Stop refuses streams from now on. It returns those that must end.
func (c *Connections[S]) Stop() [Count]S {
	c.stopped = true
	return c.streams
}

// changed adds to a change whether the link has become up or down.
func (c *Connections[S]) changed(change Change[S]) Change[S] {
	var none S
	up := c.dialed
	for _, s := range c.streams {
		up = up && s != none
	}
	change.Up, change.Down = up && !c.up, c.up && !up
	c.up = up
	return change
}

// Up reports whether the link is up.
func (c *Connections[S]) Up() bool { return c.up }

// IsDialed reports whether the connection that this node dialed is open.
func (c *Connections[S]) IsDialed() bool { return c.dialed }

// Streams returns the streams that count, by lane.
func (c *Connections[S]) Streams() [Count]S { return c.streams }

// Retry gives the pause before the next attempt to dial a peer. It doubles from Min to Max, and
// begins at Min again after a connection that lasted longer than Stable. A connection that ends
// sooner counts as a failed attempt: two processes with one identity would otherwise replace each
// other's streams at every peer without a pause.
type Retry struct {
	Min, Max, Stable time.Duration
	pause            time.Duration // the last one; 0: none
}

// Pause returns the pause after an attempt that has ended. lasted is its time, with that of the
// connection if it connected.
func (r *Retry) Pause(connected bool, lasted time.Duration) time.Duration {
	if r.pause == 0 || connected && lasted > r.Stable {
		r.pause = r.Min
	} else {
		r.pause = min(2*r.pause, r.Max)
	}
	return r.pause
}
