package link

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/rs/zerolog"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence"
	"github.com/troupe-raft/troupe/raft"
)

// The handshake is in the metadata of a stream, before any message. gRPC bounds metadata to a few
// KiB, so an unknown client cannot make this node read more.
const (
	// protocolVersion is that of the link's messages. It rises with each change that an older release
	// would misread. In 1, no start of a data directory is named, and no term of a commit index.
	protocolVersion = 2

	helloKey   = "troupe-hello-bin"
	welcomeKey = "troupe-welcome-bin"
)

// Identity is what a node sends of itself in the handshake.
type Identity struct {
	ID        uint64
	ClusterID uint64
	// Storage returns the node's data directory.
	Storage func() raft.Storage
	// Software names this release to peers whose protocol version differs.
	Software string
}

// Hello makes the message that opens a lane to a peer.
func (i Identity) Hello(to uint64, lane string) *messages.Hello {
	storage := i.Storage()
	return &messages.Hello{
		ProtocolVersion: protocolVersion, ClusterId: i.ClusterID, From: i.ID, To: to,
		StorageId: storage.ID, Rejoining: storage.Rejoining, ConfirmedIndex: storage.ConfirmedIndex,
		Starts: storage.Starts.Count, StartIds: storage.Starts.IDs,
		Lane: lane, Software: i.Software,
	}
}

func (i Identity) welcome() *messages.Welcome {
	storage := i.Storage()
	return &messages.Welcome{
		ProtocolVersion: protocolVersion, ClusterId: i.ClusterID, From: i.ID,
		StorageId: storage.ID, Rejoining: storage.Rejoining, ConfirmedIndex: storage.ConfirmedIndex,
		Starts: storage.Starts.Count, StartIds: storage.Starts.IDs, Software: i.Software,
	}
}

// refusedError is why two nodes do not exchange messages. It lasts until an operator changes
// something.
type refusedError struct {
	text string
	// storage is not nil if the data directory of one of them is refused.
	storage *messages.StorageRefused
	// earlierStart: the handshake is of an earlier start than the one that this link has admitted. It
	// was read late, after a quick restart. Or, if that start still runs, a second process runs on a
	// copy of its directory, and the refusal stops it.
	earlierStart bool
}

func (r *refusedError) Error() string { return r.text }

func refusef(format string, args ...any) error {
	return &refusedError{text: fmt.Sprintf(format, args...)}
}

// admit returns an error if no messages may be exchanged with the data directory of a peer.
func (p *linkPeer) admit(storage raft.Storage) error {
	err := p.link.receiver.Admit(p.id, storage)
	p.mu.Lock()
	passed := bytes.Equal(p.admitted.ID, storage.ID) && p.admitted.Starts.Passed(storage.Starts.Present())
	if err == nil && !passed {
		p.admitted = storage
	}
	p.mu.Unlock()
	if mismatch := persistence.IsStorageMismatch(err); mismatch != nil {
		refused := &refusedError{text: mismatch.Error(), storage: mismatch.Refusal()}
		if passed && mismatch.MetStart.Number != 0 {
			refused.earlierStart = true
			refused.text = fmt.Sprintf("member %#x was started again after it began this connection (start %d, %d since): "+
				"it connects by itself, unless two processes run on copies of its data directory",
				p.id, mismatch.Start.Number, mismatch.MetStart.Number)
		}
		return refused
	}
	return err
}

// level returns the level at which a refusal is logged.
func (r *refusedError) level() zerolog.Level {
	if r.earlierStart {
		return zerolog.WarnLevel
	}
	return zerolog.ErrorLevel
}

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
	return nil
}

// checkWelcome returns an error if this node refuses the peer that it has connected to.
func (i Identity) checkWelcome(welcome *messages.Welcome, member *messages.Member) error {
	if err := i.checkCluster(welcome); err != nil {
		return err
	}
	if from := welcome.GetFrom(); from != member.GetId() {
		return wrongMember(i.ID, member.GetId(), from)
	}
	return nil
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

// StorageOf returns the data directory that a Hello or a Welcome names.
func StorageOf(m interface {
	GetStorageId() []byte
	GetRejoining() bool
	GetConfirmedIndex() uint64
	GetStarts() uint64
	GetStartIds() []uint64
}) raft.Storage {
	return raft.Storage{
		ID: m.GetStorageId(), Rejoining: m.GetRejoining(), ConfirmedIndex: m.GetConfirmedIndex(),
		Starts: raft.Starts{Count: m.GetStarts(), IDs: m.GetStartIds()},
	}
}

// toStatus makes the gRPC status that sends a refusal to the peer. The refusal of a data directory
// carries a StorageRefused, which stops the peer.
func toStatus(err error) error {
	s := status.New(codes.FailedPrecondition, err.Error())
	var refused *refusedError
	if errors.As(err, &refused) && refused.storage != nil {
		if detailed, detailErr := s.WithDetails(protoadapt.MessageV1Of(refused.storage)); detailErr == nil {
			s = detailed
		}
	}
	return s.Err()
}

// fromStatus recognises a refusal that a peer sent.
func fromStatus(err error) error {
	s, ok := status.FromError(err)
	switch {
	case !ok:
		return err
	case s.Code() != codes.FailedPrecondition:
		return fmt.Errorf("%s", s.Message())
	}
	refused := &refusedError{text: s.Message()}
	for _, detail := range s.Details() {
		if storage, ok := detail.(*messages.StorageRefused); ok {
			refused.storage = storage
		}
	}
	return refused
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
