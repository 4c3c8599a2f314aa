package raft

import "encoding/binary"

// The largest command, and what must carry it. A command is refused before it enters the log if it
// is larger than MaxCommandBytes; so whatever is in a log can be written, sent and applied by every
// member, with whatever limits each was started. Therefore none of these is an option:
//
//	command      MaxCommandBytes        troupe.Start and kv refuse a higher limit of requests
//	entry        MaxEntryBytes          the command and its header
//	message      MaxMessageBytes        AppendEntries or ForwardedProposals with this one entry;
//	                                    both peer links send and receive messages of this size
//	log frame    persistence.MaxBatchBytes: the entry, after a batch of the LogStore
//
// A member that was restarted with a lower limit of requests still sends, and receives, the larger
// entries that the log has.
const (
	// MaxCommandBytes is 512 MiB for the request of a client, and 1 MiB for its encoding.
	MaxCommandBytes = 513 << 20
	// MaxEntryBytes is the size of an encoded entry with the largest command.
	MaxEntryBytes = MaxCommandBytes + 1 + 3*binary.MaxVarintLen64
	// MaxMessageBytes is the size of the largest encoded message between members. Besides the
	// entry, a message has some twenty numbers.
	MaxMessageBytes = MaxEntryBytes + 4<<10
	// MaxConfigurationBytes bounds an encoded configuration, which the start of every segment of
	// the log repeats.
	MaxConfigurationBytes = 1 << 20
)
