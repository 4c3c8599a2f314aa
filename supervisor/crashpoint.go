package supervisor

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/troupe-raft/troupe/actors"
)

// CrashPoint is a request that an actor fail.
type CrashPoint struct {
	// Actor is its path below the Node: "" for the Node itself, "log", "log/reader", "machine",
	// "peer-0x3".
	Actor string
	// Message is the type of message at which it fails, as in "AppendEntries"; "" for any.
	Message string
	// After lets the actor handle the message before it fails, so that what it sends and stores is not
	// lost.
	After bool
	// Times is the number of failures; 0 means one.
	Times int
}

// ActorMessages is an actor and the types of message that it handles, without its start and stop.
type ActorMessages struct {
	Actor string // as in CrashPoint; actors.ReplicatorPrefix: any Replicator
	Kinds []protoreflect.Name
}

// HandledMessages lists the types of message that the actors of a node handle.
var HandledMessages = []ActorMessages{
	{"", []protoreflect.Name{
		"Recovered", "Durable", "MachineReady", "Pull", "ReplicationProgress", "Fetch", "ResolveConflict", "HigherTerm", "Flush", "Tick", "LinkUp", "LinkDown",
		"Propose", "RequestRead", "TransferLeadership", "Campaign", "RequestVote", "VoteResponse", "AppendEntries", "Heartbeat",
		"HeartbeatResponse", "ForwardedProposals", "ForwardedRead", "ForwardedReadResponse", "TimeoutNow", "ProposalsRefused",
		"StorageRefused", "Rejoin",
	}},
	{actors.LogStoreName, []protoreflect.Name{"Append", "Flush", "Tick"}},
	{actors.LogStoreName + "/" + actors.LogReaderName, []protoreflect.Name{"ReadLog"}},
	{actors.MachineName, []protoreflect.Name{"Committed", "ReadLogResponse", "Tick"}},
	{actors.ReplicatorPrefix, []protoreflect.Name{
		"Replicate", "Fetched", "ReadLogResponse", "AppendResponse", "LinkDown", "LinkUp", "EnvelopesDropped", "Tick",
	}},
}

// Validate returns an error for a crash that can never happen: of an actor that does not exist, or
// at a message that the actor does not handle.
func (c CrashPoint) Validate() error {
	i := slices.IndexFunc(HandledMessages, func(m ActorMessages) bool { return m.Actor == c.kindOfActor() })
	switch {
	case i < 0:
		return fmt.Errorf("there is no actor %q: name one of \"\" (the Node), \"log\", \"log/reader\", \"machine\", "+
			"and \"peer-\" with the id of another member, such as \"peer-0x2\"", c.Actor)
	case c.Message != "" && !slices.Contains(HandledMessages[i].Kinds, protoreflect.Name(c.Message)):
		return fmt.Errorf("the actor %q handles no message %q: name one of %v", c.Actor, c.Message, HandledMessages[i].Kinds)
	case c.Times < 0:
		return fmt.Errorf("CrashPoint.Times is %d: give the number of failures", c.Times)
	}
	return nil
}

// kindOfActor returns the name of the actor in HandledMessages.
func (c CrashPoint) kindOfActor() string {
	if _, isPeer := c.Peer(); isPeer {
		return actors.ReplicatorPrefix
	}
	return c.Actor
}

// Peer returns the id of the peer if the actor is a Replicator.
func (c CrashPoint) Peer() (id uint64, isPeer bool) {
	text, isPeer := strings.CutPrefix(c.Actor, actors.ReplicatorPrefix)
	if !isPeer {
		return 0, false
	}
	id, err := strconv.ParseUint(text, 0, 64)
	return id, err == nil && actors.ReplicatorName(id) == c.Actor
}
