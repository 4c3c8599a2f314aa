package sim

// Invariant is a promise that the ghost holds the cluster to, by the name that a Failure carries.
type Invariant struct{ Name, Description string }

// Invariants are all that can fail, as `troupe-sim --list` tells them. A test holds the list against the source: whoever
// adds a promise adds its line here.
var Invariants = []Invariant{
	{"election safety", "at most one leader a term (Raft §5.2)"},
	{"a quorum elects", "whoever leads was given the votes of a quorum in that term"},
	{"a pre-vote changes nothing", "a member that is asked for a pre-vote answers, and neither its state nor a timer moves (E15)"},
	{"leader append-only", "a leader never truncates or overwrites its own log (Raft §5.3)"},
	{"a conflict before a truncation", "a follower cuts its log only where an entry of its leader conflicts (Raft §5.3)"},
	{"committed entries stay", "no entry is cut off a log in the term in which it was committed, or a later one"},
	{"log matching", "an entry of the same index and term is the same in every log, and so is all before it (Raft §5.3)"},
	{"leader completeness", "a new leader's log holds all that was committed in earlier terms (Raft §5.4)"},
	{"state machine safety", "no two members commit or apply different commands at an index (Raft §5.4.3)"},
	{"one vote a term", "a member votes for one candidate a term, over all its lives"},
	{"term and vote survive", "a member returns from any crash with the term and vote that it spoke of"},
	{"term and vote are monotone", "within a life, the term never goes back and a vote never changes"},
	{"commit is monotone", "within a life, the commit index never goes back"},
	{"commit within the log", "a commit index is at most the last index"},
	{"leaders commit", "nobody knows of a commit before the leader that made it"},
	{"commits of the own term", "a leader counts disks for entries of its own term only (Figure 8, E44)"},
	{"commit needs a quorum", "what is committed is on the disks of a majority"},
	{"write, then speak", "what a member acknowledges is on its disk, and still there after any crash"},
	{"disk as told", "what a sync makes durable is what the LogStore was handed: entries, term and vote, in its order"},
	{"recovery tells the disk", "what is recovered after a crash, and what is read back, is what the syncs made durable"},
	{"matchIndex is durable", "what a leader takes for a follower's matchIndex is on that follower's disk"},
	{"fail-stop", "after a failed write or sync a LogStore promises nothing, and a node that stopped says nothing (E5)"},
	{"silence in recovery", "nobody speaks for a member before its log is recovered"},
	{"life by life", "no actor obeys a message of another incarnation"},
	{"term by term", "what peers acknowledged in an earlier term moves no leader"},
	{"log as told", "the Node's log is what its LogStore was told of"},
	{"configuration in effect", "a Node acts by the latest configuration in its log, committed or not (E30, E31)"},
	{"apply after commit", "nothing is applied that is not committed"},
	{"apply after the own disk", "nothing is applied that the own disk may lose (E11)"},
	{"applied is monotone", "within a life, the applied index never goes back"},
	{"acknowledged is committed", "no program is told of an effect that is not committed"},
	{"serve after replay", "reads are served when all that was known to be committed is applied again"},
	{"apply once in order", "a state machine is given each index once in a life, in order"},
	{"exactly once", "each command takes effect at one index, and its writer is told the truth about it"},
	{"late forwards are refused", "what was forwarded in an earlier term is not taken: it may be a copy of what was refused"},
	{"refused is refused", "a command that was refused for a limit or a full disk never takes effect"},
	{"linearizable reads", "a read sees all that was acknowledged, and a read point all that was committed, before it began"},
	{"linearizability", "some order of the operations on a key, each between its call and its return, explains all answers (porcupine)"},
	{"nothing acknowledged is lost", "in the end every write that was answered is committed where its client was told"},
	{"equal state machines", "in the end all state machines are equal, and are what the effects in the log's order make of them"},
	{"nobody is left over", "in the end every member has the actors of its role and no others, and none is stuck; who stopped in good order has none"},
	{"read after apply", "when a read is answered, the member's state machine contains what its mode promises"},
	{"reads see a prefix", "every read, in any mode, sees what the log makes of a key up to some index"},
	{"local reads do not go back", "between two restarts a member's reads do not go back, nor behind the commit index on its disk"},
	{"one state machine at a time", "a member's state machine is closed before another is opened in its place"},
	{"nextIndex above matchIndex", "a replicator sends nothing that its peer is known to have"},
	{"bounded window", "a replicator keeps to its limit of requests in flight"},
	{"bounded proposals", "a leader keeps to its limit of uncommitted bytes (E45)"},
	{"bounded reads", "a leader keeps to its limit of waiting reads (E45)"},
	{"bounded memory", "the log in memory holds little but what is on no disk yet (E45)"},
	{"bounded mailboxes", "what is sent for a credit stands in a mailbox once (E45)"},
	{"codec", "every message survives being marshalled"},
	{"start", "every member starts on what its disk kept"},
	{"a stop has a cause", "no node stops by itself, or refuses its disk, without something being wrong with the disk"},
	{"a fault stops the node", "a node whose disk, or state machine, has failed in what it did does not go on (E5)"},
	{"actors hear what they know", "an actor is sent only kinds of message that it handles"},
	{"simulated disk", "the simulated disk does what it is told"},
	{"no panic", "no actor panics but those that were told to"},
	{"liveness", "once misfortune ends there is one leader, logs are equal and every request is answered"},
	{"script", "what a scenario's script awaits happens in its time"},
}

var faultDescriptions = [faultKinds]string{
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
func (f Fault) Description() string { return faultDescriptions[f] }

// FaultKinds are all kinds of fault.
func FaultKinds() []Fault {
	all := make([]Fault, faultKinds)
	for i := range all {
		all[i] = Fault(i)
	}
	return all
}
