// Package mvcc is the multi-version store behind the key-value services: the replicated state
// machine, with the request and response messages of etcd and etcd's semantics. docs/kv-format.md
// describes how it stores data.
//
// Three parties use it. The services encode a request as a command (Encode…), have it replicated,
// and decode the result (Decode…). The Machine calls Apply, Recover and Close from one goroutine.
// Readers take a View on any goroutine; index, revision, data and counts in it belong to one
// moment.
package mvcc

import (
	"errors"

	"github.com/rs/zerolog"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/troupe-raft/troupe/internal/interleave"
	"github.com/troupe-raft/troupe/kv/mvcc/engine"
)

// Refusals: results of commands and reads that the store's rules refuse. A refusal is the same at
// every member and changes nothing. The texts are etcd's where etcd has one; the services return
// the status of rpctypes.
var (
	// ErrCompacted means that the revision was compacted.
	ErrCompacted = errors.New("mvcc: required revision has been compacted")
	// ErrFutureRev means that the revision is above the newest one.
	ErrFutureRev = errors.New("mvcc: required revision is a future revision")
	// ErrKeyNotFound means that a put with ignore_value or ignore_lease names a key that does not
	// exist.
	ErrKeyNotFound = errors.New("etcdserver: key not found")
	// ErrLeaseNotFound means that a put names a lease that does not exist.
	ErrLeaseNotFound = errors.New("requested lease not found")
	// ErrDuplicateKey means that a transaction could write a key twice (see CheckTxn).
	ErrDuplicateKey = errors.New("etcdserver: duplicate key given in txn request")
	// ErrResultTooLarge means that a write would read more than maxResultBytes into its result.
	ErrResultTooLarge = errors.New("mvcc: the result of this write would exceed 64 MiB; request fewer keys, or no previous values")
	// ErrEventsTooLarge means that the events of one revision would take too much memory
	// (View.Events).
	ErrEventsTooLarge = errors.New("mvcc: the events of one revision are too large")
	// ErrInvalidCommand means an unknown kind of command, a message that cannot be decoded, an
	// empty key, or a request that this method does not serve.
	ErrInvalidCommand = errors.New("mvcc: invalid command")
)

// Errors of the store itself.
var (
	// ErrClosed means that the store is closed.
	ErrClosed = errors.New("mvcc: store is closed")
	// ErrFormat means that another program, or another version of this one, wrote the directory.
	ErrFormat = errors.New("mvcc: unknown format")
	// ErrCorrupt means that rows contradict each other.
	ErrCorrupt = errors.New("mvcc: corrupt data")
)

// Options configure a store.
type Options struct {
	// Engine opens the storage engine: disk.Opener of package engine/disk, or Disk.Open of package
	// engine/memory.
	Engine engine.Open
	// metadataBytes limits the cache of key metadata, which saves the read before a put. It grows
	// as keys are written. Default 64 MiB, enough for a million keys.
	metadataBytes int64
	// LeaseKnown reports whether a lease exists. It must depend only on what was applied before.
	// Nil: every lease id is accepted.
	LeaseKnown func(id int64) bool
	// CompactionStepEvents is how many events a compaction handles before it lets Apply go on. Default
	// 256, which take less than a millisecond.
	CompactionStepEvents int
	// Schedule, if not nil, has the store's background work as tasks: the simulator's.
	Schedule *interleave.Scheduler
	// OnFatal is called when the storage engine has failed in the background. Nil: the store
	// panics.
	OnFatal func(error)
	Logger  zerolog.Logger

	// StageBytes is about the memory of a part of a large batch; a smaller batch has one part. It may
	// differ between members. Default 16 MiB.
	StageBytes int
	// MaxValueBytes is about the largest value in the store, by which MaxResultBytes estimates the
	// result of a command that returns single keys. Default 1.5 MiB.
	MaxValueBytes int

	// Set by tests only.
	bucketLimits bucketLimits
	resultBytes  int
	onStage      func()
}

// HashResult is a hash of the history in (CompactRevision, HashRevision] and of the live keys at
// CompactRevision. Members with the same history have the same Hash for the same two revisions.
type HashResult struct {
	Hash            uint32
	CompactRevision int64 // -1: never compacted
	HashRevision    int64
}

// MemberAttributes are what a member published about itself through the log.
type MemberAttributes struct {
	ID         uint64
	Name       string
	ClientURLs []string
}

// Event is a change of a key. See Store.SetObserver and View.Events.
type Event = mvccpb.Event

// Observer receives each revision in order, after it is published: a View taken in or after the
// call contains it. It runs on the applying goroutine, must return quickly, and must not call
// SetObserver or SetWantPrev. It may keep and share the events, but not change them. Events that
// would take too much memory are missing as a whole (nil); View.Events has them.
type Observer func(rev int64, events []*Event)

// TxnIsReadOnly reports whether no branch of the transaction writes, so that View.Txn can execute
// it without the log.
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
