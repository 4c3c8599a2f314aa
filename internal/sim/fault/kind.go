package fault

var kindDescriptions = [NumKinds]string{
	Kill:            "a process is killed, as by kill -9, and starts again: what it wrote stays in the system's memory",
	PowerCut:        "a machine loses power, also during a write or a recovery; the seed decides about what was not synced",
	Crash:           "an actor panics at a message, before or after it handles it",
	CrashTwice:      "an actor panics, and once more at the next message",
	CrashRecovering: "an actor panics while the node recovers",
	CrashLoop:       "the Node panics until it exceeds the restart limit and stops; it is started again later",
	Pause:           "a process pauses and continues with its backlog",
	Transfer:        "leadership is transferred, or a member is asked to campaign",
	Cut:             "connections break, one way or both",
	OneWay:          "a member receives and cannot send, or sends and cannot receive",
	Bridge:          "two halves are connected only through one member",
	Isolate:         "a member is cut off from all others",
	Flap:            "a connection breaks and is back at once, and messages were dropped",
	Flapping:        "a member is cut off and connected again, several times",
	LossBurst:       "for a while most messages are lost",
	SlowDisk:        "writes and syncs take long",
	StalledDisk:     "a disk does nothing for longer than an election timeout",
	FullDisk:        "a disk has no free space for a while",
	FailedWrite:     "a write fails, wholly or in part, or a file cannot be created or renamed: the node stops",
	FailedSync:      "a sync fails: the node stops, and nothing that the sync should cover counts",
	FlippedBit:      "a bit of old data changes: the member refuses to start, or keeps all that it acknowledged",
	LostDisk:        "a disk is lost, and its member stays down",
	LyingDisk:       "syncs report success and do nothing",
	FailedRead:      "a read of a disk or of a name fails, mostly while the node starts: it stops, or does not start, and names the file",
	FlippedRead:     "a read returns a wrong bit: it is repeated, or the node does not start",
	FailedState:     "an on-disk state machine fails to store a batch, or stores it and reports a failure, or loses batches that were not flushed: the node stops",
	FullState:       "an on-disk state machine has no free space for a while",
	LostState:       "an on-disk state machine loses some or all of its data: the log restores it",
	DamagedState:    "a state machine finds its files damaged: the node does not start, and the operator moves them away",
	ClockDrift:      "a clock runs at another speed, within 1 %",
	ClockFast:       "a clock runs at double or half speed",
	ClockJump:       "a clock jumps an hour forward or back",
	ClockFrozen:     "a clock stands still",
}

// Description describes the fault in a line.
func (f Kind) Description() string { return kindDescriptions[f] }

// Kinds returns all kinds of fault.
func Kinds() []Kind {
	all := make([]Kind, NumKinds)
	for i := range all {
		all[i] = Kind(i)
	}
	return all
}
