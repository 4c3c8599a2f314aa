package link

import (
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/messages"
)

// The handshake travels in the metadata that open and answer a stream, before any message: gRPC bounds metadata to a few
// KiB, so a stranger cannot make this node read anything large.
const (
	protocolVersion = 1

	helloKey   = "troupe-hello-bin"
	welcomeKey = "troupe-welcome-bin"
)

// A lane is one of the two streams of a connection. Votes, heartbeats and acknowledgements never wait behind entries.
type lane int

const (
	control lane = iota
	bulk
	laneCount
)

func (l lane) String() string { return [...]string{"control", "bulk"}[l] }

// laneOf says which way a message goes: what may be large, over bulk.
func laneOf(message messages.PeerMessage) lane {
	switch message.(type) {
	case *messages.AppendEntries, *messages.ForwardedProposals:
		return bulk
	}
	return control
}

// Identity is what a node says of itself, and what its peers must match.
type Identity struct {
	ID        uint64
	ClusterID uint64
	StorageID []byte
	// Software is named to peers whose protocol does not match.
	Software string
}

// Hello opens a lane to a peer.
func (i Identity) Hello(to uint64, lane string) *messages.Hello {
	return &messages.Hello{ProtocolVersion: protocolVersion, ClusterId: i.ClusterID, From: i.ID, To: to, StorageId: i.StorageID, Lane: lane, Software: i.Software}
}

func (i Identity) welcome() *messages.Welcome {
	return &messages.Welcome{ProtocolVersion: protocolVersion, ClusterId: i.ClusterID, From: i.ID, StorageId: i.StorageID, Software: i.Software}
}

// refusal is why two nodes do not talk. It is permanent until an operator has done something.
type refusedError struct{ text string }

func (r *refusedError) Error() string { return r.text }

func refusef(format string, args ...any) error { return &refusedError{fmt.Sprintf(format, args...)} }

// CheckHello says why a peer that dialed in is refused; nil if it is not. The text goes to both sides' logs, so it calls
// both by their ids. member is what SetPeers said of the caller, nil if it did not name it.
func (i Identity) CheckHello(hello *messages.Hello, lane string, member *messages.Member) error {
	from := hello.GetFrom()
	switch {
	case hello.GetProtocolVersion() != protocolVersion:
		return refusef("member %x speaks link protocol %d (%s), member %x speaks %d (%s): run releases that have one in common",
			from, hello.GetProtocolVersion(), hello.GetSoftware(), i.ID, protocolVersion, i.Software)
	case hello.GetClusterId() != i.ClusterID:
		return refusef("member %x is of cluster %x, member %x is of cluster %x: start both with the same initial cluster and token, or give them ports of their own",
			from, hello.GetClusterId(), i.ID, i.ClusterID)
	case from == i.ID:
		return refusef("a node with this node's own id %x dialed in: two members were started with one identity, or an address list names this node under another id",
			i.ID)
	case hello.GetTo() != i.ID:
		return refusef("member %x looks for member %x at the address of member %x: correct the peer address of one of them",
			from, hello.GetTo(), i.ID)
	case hello.GetLane() != lane:
		return refusef("member %x opened lane %q on the stream of lane %q", from, hello.GetLane(), lane)
	case member == nil:
		return refusef("not a member: %x is not in the configuration that member %x knows; add it to the cluster first, or, if it was removed, stop it",
			from, i.ID)
	}
	return checkStorage(from, hello.GetStorageId(), member, i.ID)
}

// checkWelcome says why this node does not talk to who answered its call; nil if it does.
func (i Identity) checkWelcome(welcome *messages.Welcome, member *messages.Member) error {
	from := welcome.GetFrom()
	switch {
	case welcome.GetProtocolVersion() != protocolVersion:
		return refusef("member %x speaks link protocol %d (%s), member %x speaks %d (%s): run releases that have one in common",
			from, welcome.GetProtocolVersion(), welcome.GetSoftware(), i.ID, protocolVersion, i.Software)
	case welcome.GetClusterId() != i.ClusterID:
		return refusef("member %x is of cluster %x, member %x is of cluster %x: start both with the same initial cluster and token, or give them ports of their own",
			from, welcome.GetClusterId(), i.ID, i.ClusterID)
	case from != member.GetId():
		return refusef("member %x looks for member %x at the address of member %x: correct the peer address of one of them",
			i.ID, member.GetId(), from)
	}
	return checkStorage(from, welcome.GetStorageId(), member, i.ID)
}

// checkStorage refuses a member that came back without the data directory it was met with: it may have forgotten a vote
// (E37).
func checkStorage(id uint64, has []byte, member *messages.Member, self uint64) error {
	if known := member.GetStorageId(); len(known) > 0 && string(known) != string(has) {
		return refusef("member %x has storage id %x, member %x knows it with %x: its data directory was lost or replaced; remove it from the cluster and add it under a new id",
			id, has, self, known)
	}
	return nil
}

// toStatus is how a refusal crosses the wire.
func toStatus(err error) error { return status.Error(codes.FailedPrecondition, err.Error()) }

// fromStatus recognises a refusal that came over the wire.
func fromStatus(err error) error {
	if s, ok := status.FromError(err); ok {
		if s.Code() == codes.FailedPrecondition {
			return &refusedError{s.Message()}
		}
		return fmt.Errorf("%s", s.Message())
	}
	return err
}

func encodeMetadata(key string, m proto.Message) metadata.MD {
	data, _ := proto.Marshal(m) // plain messages of ours: cannot fail
	return metadata.Pairs(key, string(data))
}

// get reads what put wrote; false if it is not there or no such message.
func decodeMetadata(md metadata.MD, key string, m proto.Message) bool {
	values := md.Get(key)
	return len(values) == 1 && proto.Unmarshal([]byte(values[0]), m) == nil
}
