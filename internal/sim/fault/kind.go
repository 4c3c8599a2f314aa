// Package fault has the kinds of fault of the simulator, the profiles that combine them, and the
// network profiles.
package fault

import (
	"fmt"
	"strings"
)

// Kind is a kind of fault of a member or between members. Faults of single messages are counted
// separately.
type Kind int

// The kinds; kinds describes them.
const (
	// Processes and actors.
	Kill Kind = iota
	Stop
	PowerCut
	Crash
	CrashTwice
	CrashRecovering
	CrashLoop
	Pause
	Transfer

	// The network.
	Cut
	OneWay
	Bridge
	Isolate
	Flap
	Flapping
	SlowLink
	LossBurst

	// Disks.
	SlowDisk
	StalledDisk
	FullDisk
	FailedWrite
	FailedSync
	FlippedBit
	LostDisk
	LostLog
	EmptiedDisk
	RestoredDisk
	LyingDisk
	FailedRead
	FlippedRead

	// The storage of a state machine.
	FailedState
	FullState
	LostState
	DamagedState

	// Clocks.
	ClockDrift
	ClockFast
	ClockJump
	ClockFrozen

	NumKinds = iota
)

// kinds has the name and the description of each kind.
var kinds = [NumKinds]struct{ name, description string }{
	Kill:            {"kill", "a process is killed, as by kill -9, and starts again: what it wrote stays in the system's memory"},
	Stop:            {"stop", "a process is stopped in order, as by SIGTERM, and starts again: a leader first hands leadership over"},
	PowerCut:        {"power-cut", "a machine loses power, also during a write or a recovery; the seed decides about what was not synced"},
	Crash:           {"crash", "an actor panics at a message, before or after it handles it"},
	CrashTwice:      {"crash-twice", "an actor panics, and once more at the next message"},
	CrashRecovering: {"crash-recovering", "an actor panics while the node recovers"},
	CrashLoop:       {"crash-loop", "the Node panics until it exceeds the restart limit and stops; it is started again later"},
	Pause:           {"pause", "a process pauses and continues with its backlog"},
	Transfer:        {"transfer", "leadership is transferred, or a member is asked to campaign"},
	Cut:             {"cut", "connections break, one way or both"},
	OneWay:          {"one-way", "a member receives and cannot send, or sends and cannot receive"},
	Bridge:          {"bridge", "two halves are connected only through one member"},
	Isolate:         {"isolate", "a member is cut off from all others"},
	Flap:            {"flap", "a connection breaks and is back at once, and messages were dropped"},
	Flapping:        {"flapping", "a member is cut off and connected again, several times"},
	SlowLink:        {"slow-link", "what a member sends to others passes at a few kilobytes a second, so that queues fill"},
	LossBurst:       {"loss-burst", "for a while most messages are lost"},
	SlowDisk:        {"slow-disk", "writes and syncs take long"},
	StalledDisk:     {"stalled-disk", "a disk does nothing for longer than an election timeout"},
	FullDisk:        {"full-disk", "a disk has no free space for a while"},
	FailedWrite:     {"failed-write", "a write fails, wholly or in part, or a file cannot be created or renamed: the node stops"},
	FailedSync:      {"failed-sync", "a sync fails: the node stops, and nothing that the sync should cover counts"},
	FlippedBit:      {"flipped-bit", "a bit of old data changes: the member refuses to start, or keeps all that it acknowledged"},
	LostDisk:        {"lost-disk", "a disk is lost, and its member stays down"},
	LostLog:         {"lost-log", "the directory of the log is moved away: the member refuses to start"},
	EmptiedDisk:     {"emptied-disk", "a member returns with an empty disk: its peers refuse it until an operator has it rejoin"},
	RestoredDisk:    {"restored-disk", "a member returns with a copy of its disk from before its last start: its peers refuse it, and an operator has it rejoin"},
	LyingDisk:       {"lying-disk", "syncs report success and do nothing"},
	FailedRead:      {"failed-read", "a read of a disk or of a name fails, mostly while the node starts: it stops, or does not start, and names the file"},
	FlippedRead:     {"flipped-read", "a read returns a wrong bit: it is repeated, or the node does not start"},
	FailedState:     {"failed-state", "an on-disk state machine fails to store a batch, or stores it and reports a failure, or loses batches that were not flushed: the node stops"},
	FullState:       {"full-state", "an on-disk state machine has no free space for a while"},
	LostState:       {"lost-state", "an on-disk state machine loses some or all of its data: the log restores it"},
	DamagedState:    {"damaged-state", "a state machine finds its files damaged: the node does not start, and the operator moves them away"},
	ClockDrift:      {"clock-drift", "a clock runs at another speed, within 1 %"},
	ClockFast:       {"clock-fast", "a clock runs at double or half speed"},
	ClockJump:       {"clock-jump", "a clock jumps an hour forward or back"},
	ClockFrozen:     {"clock-frozen", "a clock stands still"},
}

func (k Kind) String() string { return kinds[k].name }

// Description describes the fault in a line.
func (k Kind) Description() string { return kinds[k].description }

// Kinds returns all kinds of fault.
func Kinds() []Kind {
	all := make([]Kind, NumKinds)
	for i := range all {
		all[i] = Kind(i)
	}
	return all
}

// ParseKind is the inverse of String.
func ParseKind(name string) (Kind, error) {
	names := make([]string, NumKinds)
	for i, k := range kinds {
		if names[i] = k.name; k.name == name {
			return Kind(i), nil
		}
	}
	return 0, fmt.Errorf("no kind of fault is called %q: there are %s", name, strings.Join(names, ", "))
}
