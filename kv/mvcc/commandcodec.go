package mvcc

import (
	"encoding/binary"
	"fmt"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// The kinds of a command. A command is one byte with its kind, then the etcd request as protobuf.
// Commands are in the log, so kinds are never renumbered.
const (
	KindPut              byte = 1
	KindDeleteRange      byte = 2
	KindTxn              byte = 3
	KindCompact          byte = 4
	KindMemberAttributes byte = 5
)

// EncodePut encodes the command of a put.
func EncodePut(r *pb.PutRequest) ([]byte, error) { return encodeCommand(KindPut, r) }

// EncodeDeleteRange encodes the command of a delete.
func EncodeDeleteRange(r *pb.DeleteRangeRequest) ([]byte, error) {
	return encodeCommand(KindDeleteRange, r)
}

// EncodeTxn encodes the command of a transaction.
func EncodeTxn(r *pb.TxnRequest) ([]byte, error) { return encodeCommand(KindTxn, r) }

// EncodeCompaction encodes the command of a compaction.
func EncodeCompaction(r *pb.CompactionRequest) ([]byte, error) { return encodeCommand(KindCompact, r) }

func encodeCommand(kind byte, m proto.Message) ([]byte, error) {
	buf := make([]byte, 1, 1+proto.Size(m))
	buf[0] = kind
	buf, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(buf, m)
	if err != nil {
		return nil, fmt.Errorf("encoding %s: %w", m.ProtoReflect().Descriptor().Name(), err)
	}
	return buf, nil
}

// Fields of the member attributes message: id (fixed64), name, client URLs (repeated).
const (
	attributeID   protowire.Number = 1
	attributeName protowire.Number = 2
	attributeURL  protowire.Number = 3
)

// EncodeMemberAttributes encodes the command by which a member publishes its name and client URLs.
// Its result is empty.
func EncodeMemberAttributes(id uint64, name string, clientURLs []string) []byte {
	return appendAttributes([]byte{KindMemberAttributes}, MemberAttributes{ID: id, Name: name, ClientURLs: clientURLs})
}

func appendAttributes(buf []byte, a MemberAttributes) []byte {
	buf = protowire.AppendTag(buf, attributeID, protowire.Fixed64Type)
	buf = protowire.AppendFixed64(buf, a.ID)
	buf = protowire.AppendTag(buf, attributeName, protowire.BytesType)
	buf = protowire.AppendString(buf, a.Name)
	for _, u := range a.ClientURLs {
		buf = protowire.AppendTag(buf, attributeURL, protowire.BytesType)
		buf = protowire.AppendString(buf, u)
	}
	return buf
}

func decodeAttributes(b []byte) (a MemberAttributes, ok bool) {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return a, false
		}
		b = b[n:]
		switch {
		case num == attributeID && typ == protowire.Fixed64Type:
			a.ID, n = protowire.ConsumeFixed64(b)
		case num == attributeName && typ == protowire.BytesType:
			a.Name, n = protowire.ConsumeString(b)
		case num == attributeURL && typ == protowire.BytesType:
			var u string
			u, n = protowire.ConsumeString(b)
			a.ClientURLs = append(a.ClientURLs, u)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return a, false
		}
		b = b[n:]
	}
	return a, true
}

// A result is a status byte; after statusOK the revision of the response header as uvarint; and, if
// the response is more than its header, the response as protobuf without it. The result of a put
// without prev_kv has 2 to 6 bytes.
const (
	statusOK             byte = 0
	statusCompacted      byte = 1
	statusFutureRev      byte = 2
	statusKeyNotFound    byte = 3
	statusLeaseNotFound  byte = 4
	statusDuplicateKey   byte = 5
	statusInvalidCommand byte = 6
	statusResultTooLarge byte = 7
)

// refusals are indexed by their status.
var refusals = [...]error{
	statusCompacted: ErrCompacted, statusFutureRev: ErrFutureRev, statusKeyNotFound: ErrKeyNotFound,
	statusLeaseNotFound: ErrLeaseNotFound, statusDuplicateKey: ErrDuplicateKey, statusInvalidCommand: ErrInvalidCommand,
	statusResultTooLarge: ErrResultTooLarge,
}

// refusalResult returns the result of a refused command.
func refusalResult(err error) []byte {
	return []byte{byte(slices.Index(refusals[:], err))}
}

// appendResult appends the result of a successful command. body may be nil.
func appendResult(buf []byte, rev int64, body proto.Message) ([]byte, error) {
	buf = append(buf, statusOK)
	buf = binary.AppendUvarint(buf, uint64(rev))
	if body == nil {
		return buf, nil
	}
	return proto.MarshalOptions{Deterministic: true}.MarshalAppend(buf, body)
}

// DecodePut decodes the result of a put: the response, with only the revision in its header, or the
// refusal.
func DecodePut(result []byte) (*pb.PutResponse, error) {
	r := &pb.PutResponse{}
	return decodeResponse(result, r, &r.Header)
}

// DecodeDeleteRange decodes the result of a delete.
func DecodeDeleteRange(result []byte) (*pb.DeleteRangeResponse, error) {
	r := &pb.DeleteRangeResponse{}
	return decodeResponse(result, r, &r.Header)
}

// DecodeTxn decodes the result of a transaction. The responses in it have headers as in etcd: with
// only the revision, and none in a nested transaction.
func DecodeTxn(result []byte) (*pb.TxnResponse, error) {
	r := &pb.TxnResponse{}
	return decodeResponse(result, r, &r.Header)
}

// DecodeCompaction decodes the result of a compaction. The rows are removed in the background; see
// WaitCompacted.
func DecodeCompaction(result []byte) (*pb.CompactionResponse, error) {
	r := &pb.CompactionResponse{}
	return decodeResponse(result, r, &r.Header)
}

// decodeResponse decodes a result into r, whose header it sets.
func decodeResponse[R proto.Message](result []byte, r R, header **pb.ResponseHeader) (response R, err error) {
	rev, err := decodeResult(result, r)
	if err != nil {
		return response, err
	}
	*header = &pb.ResponseHeader{Revision: rev}
	return r, nil
}

func decodeResult(result []byte, into proto.Message) (rev int64, err error) {
	if len(result) == 0 {
		return 0, fmt.Errorf("decoding an empty result: %w", ErrCorrupt)
	}
	if status := result[0]; status != statusOK {
		if int(status) < len(refusals) {
			return 0, refusals[status]
		}
		return 0, fmt.Errorf("decoding a result of unknown status %d: %w", status, ErrCorrupt)
	}
	u, n := binary.Uvarint(result[1:])
	if n <= 0 {
		return 0, fmt.Errorf("decoding the revision of a result: %w", ErrCorrupt)
	}
	if body := result[1+n:]; len(body) > 0 {
		if err := proto.Unmarshal(body, into); err != nil {
			return 0, fmt.Errorf("decoding a result: %w: %w", ErrCorrupt, err)
		}
	}
	return int64(u), nil
}
