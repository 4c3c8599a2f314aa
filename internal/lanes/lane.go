package lanes

import "github.com/troupe-raft/troupe/messages"

// Lane is one of the streams of a link. Votes, heartbeats and responses use Control, so that they
// do not wait behind entries on Bulk. The order of messages is kept within a lane only, and on Bulk
// only among forwarded proposals and among the others.
type Lane int

// The lanes.
const (
	Control Lane = iota
	Bulk
	Count // of lanes
)

func (l Lane) String() string { return [...]string{"control", "bulk"}[l] }

// Of returns the lane of a message: Bulk for those that may be large.
func Of(message messages.PeerMessage) Lane {
	switch message.(type) {
	case *messages.AppendEntries, *messages.ForwardedProposals:
		return Bulk
	}
	return Control
}
