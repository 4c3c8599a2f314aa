// Package member builds and runs one member of a cluster: its data directory, its session, its
// supervised actors, the retries, and the release of it all in order.
//
// troupe.Start and the simulator (internal/sim/world) both build their members with it, so that the
// simulator tests how the parts are connected, and not only the parts. What differs is the Host:
// its clock, its random numbers, and the environment of the actors, with their scheduler, disk and
// network. A difference in anything else would be a part of production that no simulation reaches.
//
// The package has no goroutine and no clock of its own.
package member
