// Package lanes has what the link to a peer is made of, apart from its connections: the lanes, the
// queue of each, and the encoding of a batch of messages.
//
// Nothing in it waits, and it knows no goroutine, socket or clock. So the link of production
// (actors/live/link) and the network of the simulator (internal/sim/world) both send through it.
package lanes
