package link

import (
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/messages"
)

// The handshake is in the metadata of a stream, before any message. gRPC bounds metadata to a few
// KiB, so an unknown client cannot make this node read more.
const (
	protocolVersion = 1

	helloKey   = "troupe-hello-bin"
	welcomeKey = "troupe-welcome-bin"
)

// Identity is what a node sends of itself in the handshake.
type Identity struct {
	ID        uint64
	ClusterID uint64
	StorageID []byte
	// Software names this release to peers whose protocol version differs.
	Software string
}

// Hello makes the message that opens a lane to a peer.
func (i Identity) Hello(to uint64, lane string) *messages.Hello {
	return &messages.Hello{
		ProtocolVersion: protocolVersion, ClusterId: i.ClusterID, From: i.ID, To: to,
		StorageId: i.StorageID, Lane: lane, Software: i.Software,
	}
}

func (i Identity) welcome() *messages.Welcome {
	return &messages.Welcome{
		ProtocolVersion: protocolVersion, ClusterId: i.ClusterID, From: i.ID,
		StorageId: i.StorageID, Software: i.Software,
	}
}

// refusedError is why two nodes do not exchange messages. It lasts until an operator changes
// something.
type refusedError struct{ text string }

func (r *refusedError) Error() string { return r.text }

func refusef(format string, args ...any) error { return &refusedError{fmt.Sprintf(format, args...)} }

// CheckHello returns an error if this node refuses a peer that connects; nil otherwise. Both sides
// log the text, so it names both by their ids. member is the peer as SetPeers gave it; nil if it
// did not.
func (i Identity) CheckHello(hello *messages.Hello, lane string, member *messages.Member) error {
	from := hello.GetFrom()
	if err := i.checkCluster(hello); err != nil {
		return err
	}
	switch {
	case from == i.ID:
		return refusef("a node with this node's own id %#x connected: two members run with one identity, "+
			"or an address list names this node under another id", i.ID)
	case hello.GetTo() != i.ID:
		return wrongMember(from, hello.GetTo(), i.ID)
	case hello.GetLane() != lane:
		return refusef("member %#x opened lane %q on the stream of lane %q", from, hello.GetLane(), lane)
	case member == nil:
		return refusef("not a member: %#x is not in the configuration of member %#x; add it to the cluster first, "+
			"or, if it was removed, stop it", from, i.ID)
	}
	return i.checkStorage(hello.GetStorageId(), member)
}

// checkWelcome returns an error if this node refuses the peer that it has connected to.
func (i Identity) checkWelcome(welcome *messages.Welcome, member *messages.Member) error {
	if err := i.checkCluster(welcome); err != nil {
		return err
	}
	if from := welcome.GetFrom(); from != member.GetId() {
		return wrongMember(i.ID, member.GetId(), from)
	}
	return i.checkStorage(welcome.GetStorageId(), member)
}

// checkCluster checks what Hello and Welcome have in common.
func (i Identity) checkCluster(peer interface {
	GetFrom() uint64
	GetProtocolVersion() uint32
	GetClusterId() uint64
	GetSoftware() string
}) error {
	switch {
	case peer.GetProtocolVersion() != protocolVersion:
		return refusef("member %#x has link protocol %d (%s), member %#x has %d (%s): run releases that have one in common",
			peer.GetFrom(), peer.GetProtocolVersion(), peer.GetSoftware(), i.ID, protocolVersion, i.Software)
	case peer.GetClusterId() != i.ClusterID:
		return refusef("member %#x is of cluster %#x, member %#x is of cluster %#x: start both with the same initial cluster "+
			"and token, or on different ports", peer.GetFrom(), peer.GetClusterId(), i.ID, i.ClusterID)
	}
	return nil
}

func wrongMember(from, wanted, found uint64) error {
	return refusef("member %#x connected to the address of member %#x and expected member %#x: "+
		"correct the peer address of one of them", from, found, wanted)
}

// checkStorage refuses a member whose data directory is not the one it had at first: it may have
// lost a vote (E37).
func (i Identity) checkStorage(storageID []byte, member *messages.Member) error {
	if known := member.GetStorageId(); len(known) > 0 && string(known) != string(storageID) {
		return refusef("member %#x has storage id %x, member %#x knows it with %x: its data directory was lost or replaced; "+
			"remove it from the cluster and add it under a new id", member.GetId(), storageID, i.ID, known)
	}
	return nil
}

// toStatus makes the gRPC status that sends a refusal to the peer.
func toStatus(err error) error { return status.Error(codes.FailedPrecondition, err.Error()) }

// fromStatus recognises a refusal that a peer sent.
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
	data, _ := proto.Marshal(m) // Hello and Welcome always encode
	return metadata.Pairs(key, string(data))
}

// decodeMetadata decodes the message of a key; it returns false if there is none.
func decodeMetadata(md metadata.MD, key string, m proto.Message) bool {
	values := md.Get(key)
	return len(values) == 1 && proto.Unmarshal([]byte(values[0]), m) == nil
}
