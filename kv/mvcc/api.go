// Package mvcc is the multi-version store behind the key-value services, and the replicated state machine that changes
// it. It speaks etcd's request and response messages and gives etcd's answers; docs/kv-format.md tells how it keeps them.
//
// Three parties use it. The services encode a request as a command (Encode…), have it replicated, and decode the result
// that this member's Apply made of it (Decode…). The consensus machine calls Apply, Recover and Close, from one goroutine.
// Readers take a View, from any goroutine, and find index, revision, data and counts of one moment in it.
package mvcc

import (
	"errors"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/rs/zerolog"
)

// Requests that the store refuses by its own rules. A refusal is a result like any other: the same at every member, and
// it changes nothing. The texts are etcd's own where etcd has one; services answer with the status of rpctypes.
var (
	// ErrCompacted: the revision asked for was compacted away (or: is compacted already).
	ErrCompacted = errors.New("mvcc: required revision has been compacted")
	// ErrFutureRev: the revision asked for has not happened yet.
	ErrFutureRev = errors.New("mvcc: required revision is a future revision")
	// ErrKeyNotFound: ignore_value or ignore_lease was asked for a key that is not there.
	ErrKeyNotFound = errors.New("etcdserver: key not found")
	// ErrLeaseNotFound: the lease of a put is not known.
	ErrLeaseNotFound = errors.New("requested lease not found")
	// ErrDuplicateKey: a transaction would write a key twice (see CheckTxn).
	ErrDuplicateKey = errors.New("etcdserver: duplicate key given in txn request")
	// ErrInvalidCommand: a command that no service would have proposed (unknown kind, broken message, empty key).
	ErrInvalidCommand = errors.New("mvcc: invalid command")
)

// Errors of the store itself.
var (
	// ErrClosed: the store, or the view, is closed.
	ErrClosed = errors.New("mvcc: store is closed")
	// ErrFormat: the directory holds something that this version cannot read.
	ErrFormat = errors.New("mvcc: unknown format")
	// ErrCorrupt: rows contradict each other.
	ErrCorrupt = errors.New("mvcc: corrupt data")
)

// Options of Open. The zero value works.
type Options struct {
	// FS is where the store keeps its files; nil is the operating system's.
	FS vfs.FS
	// cacheBytes bounds the cache of blocks read from disk. Default 64 MiB.
	cacheBytes int64
	// memTableBytes is how much is collected in memory before it is written out. Up to a few of these exist at once; what
	// is in them is lost in a crash and comes back from the log. Default 32 MiB.
	memTableBytes int64
	// metadataBytes bounds the cache of the newest revisions of keys, which saves the read before a put. It grows only
	// as keys are written. Default 64 MiB, which is enough for a million keys.
	metadataBytes int64
	// LeaseKnown tells whether a lease exists; it must depend on nothing but what was applied before. Nil: any lease id
	// is taken as it comes.
	LeaseKnown func(id int64) bool
	// OnFatal is told when the engine cannot go on (its disk failed in the background). Nil panics.
	OnFatal func(error)
	Logger  zerolog.Logger

	// Tests make these small.
	bucketLimits         bucketLimits
	compactionStepEvents int // events that the compactor looks at in one turn
}

// HashResult is a hash of the history in (CompactRevision, HashRevision] and of what is live at CompactRevision. Members
// with the same history have the same Hash for the same two revisions.
type HashResult struct {
	Hash            uint32
	CompactRevision int64 // -1: never compacted
	HashRevision    int64
}

// MemberAttributes is what a member says about itself through the log.
type MemberAttributes struct {
	ID         uint64
	Name       string
	ClientURLs []string
}

// Event is a change of a key. See Store.SetObserver and View.Events.
type Event = mvccpb.Event

// Observer is told of each revision, in order, after it is published: a View taken inside or after the call has it. It
// runs on the applying goroutine, must be quick, and must not call SetObserver or SetWantPrev. The events are the observer's to keep and share, but not to change.
type Observer func(rev int64, events []*Event)

// TxnIsReadOnly tells whether no branch of the transaction writes, so that View.Txn can answer it without the log.
func TxnIsReadOnly(r *pb.TxnRequest) bool {
	return opsAreReadOnly(r.GetSuccess()) && opsAreReadOnly(r.GetFailure())
}

func opsAreReadOnly(ops []*pb.RequestOp) bool {
	for _, op := range ops {
		switch o := op.GetRequest().(type) {
		case *pb.RequestOp_RequestPut, *pb.RequestOp_RequestDeleteRange:
			return false
		case *pb.RequestOp_RequestTxn:
			if !TxnIsReadOnly(o.RequestTxn) {
				return false
			}
		}
	}
	return true
}
