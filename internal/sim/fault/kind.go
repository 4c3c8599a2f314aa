package fault

var kindDescriptions = [NumKinds]string{
	Kill:            "a process dies, as by kill -9, and is started again: what it wrote stays in the system's memory",
	PowerCut:        "a machine loses power, also in the middle of a write or of a recovery: of what was not synced, the seed decides",
	Crash:           "an actor panics at a message, before or after it is handled",
	CrashTwice:      "an actor panics, and once more at the message after",
	CrashRecovering: "an actor panics while the node recovers",
	CrashLoop:       "the Node panics until there are too many restarts and it stops for good; it is started again later",
	Pause:           "a process stands still and goes on with its backlog",
	Transfer:        "leadership is handed over, or a member is told to campaign",
	Cut:             "connections break, one way or both",
	OneWay:          "a member hears and is not heard, or is heard and does not hear",
	Bridge:          "two halves are joined only through one member",
	Isolate:         "a member is cut off from all others",
	Flap:            "a connection breaks and is back at once, and a queue has dropped something",
	Flapping:        "a member is cut off and joined, again and again",
	LossBurst:       "for a while most messages are lost",
	SlowDisk:        "writes and syncs take long",
	StalledDisk:     "for longer than an election timeout a disk does nothing",
	FullDisk:        "a disk has no space left, for a while",
	FailedWrite:     "a write fails, whole or in part, or a file cannot be made or renamed: the node stops",
	FailedSync:      "a sync fails: the node stops, and nothing that the sync was to cover counts",
	FlippedBit:      "a bit of old data changes: the member refuses to start, or goes on with all it ever acknowledged",
	LostDisk:        "a disk is lost, and its member stays away for ever",
	LyingDisk:       "syncs report success and do nothing",
	FailedRead:      "a read of a disk fails, or a look at a name, mostly while the node starts: it stops, or does not start, and says which file",
	FlippedRead:     "a read brings a bit that is not so on the disk: it is read again, or the start is refused",
	FailedState:     "a state machine on disk cannot store a batch, or does and says that it could not, or loses some that it had not flushed: the node stops",
	FullState:       "a state machine on disk has no space left, for a while",
	LostState:       "what a state machine had on disk is gone, in part or as a whole: the log brings it back",
	DamagedState:    "a state machine finds its files damaged: the node does not start, and its operator moves them away",
	ClockDrift:      "a clock runs at another speed, within 1 %",
	ClockFast:       "a clock runs at double or half speed",
	ClockJump:       "a clock jumps an hour forward or back",
	ClockFrozen:     "a clock stands still",
}

// Line tells what the fault does.
func (f Kind) Description() string { return kindDescriptions[f] }

// Kinds are all kinds of fault.
func Kinds() []Kind {
	all := make([]Kind, NumKinds)
	for i := range all {
		all[i] = Kind(i)
	}
	return all
}
