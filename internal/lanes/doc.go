// Package lanes has what the link to a peer is made of: the lanes, the queue of each, the encoding
// of a batch of messages, and the state of the connections.
//
// Nothing in it waits, and it knows no goroutine, socket or clock. So the link of production
// (actors/live/link) and the network of the simulator (internal/sim/world) both send through the
// queues and the encoding, and a test explores every order of what happens to connections.
package lanes
