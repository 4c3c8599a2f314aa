package scenario

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/troupe-raft/troupe/messages"
)

// The commands of a scenario in text with their arguments.

// textCommand is a command: what runs it and returns its output, and the arguments that it knows
// besides its operands.
type textCommand struct {
	run     func(*textScenario, *datadriven.TestData) string
	options string // names of "name=value", and of words that are no operand
}

var textCommands = map[string]textCommand{
	"cluster":  {(*textScenario).cluster, "members seed silent single-entry"},
	"register": {(*textScenario).register, ""}, "elect": {(*textScenario).elect, ""},
	"timers": {(*textScenario).timers, ""}, "transfer": {(*textScenario).transferTo, "to nowait"},
	"write": {(*textScenario).write, "at nowait"}, "read": {(*textScenario).read, "at mode as nowait"},
	"result": {(*textScenario).result, "wait"}, "isolate": {(*textScenario).isolateMember, ""},
	"cut": {(*textScenario).cut, ""}, "heal": {(*textScenario).heal, ""},
	"drop": {(*textScenario).drop, "from to kinds after no-pre-votes"},
	"hold": {(*textScenario).hold, "from to kinds no-pre-votes"}, "release": {(*textScenario).release, ""},
	"resend": {(*textScenario).resend, ""}, "kill": {(*textScenario).kill, ""}, "start": {(*textScenario).start, ""},
	"stall": {(*textScenario).stall, "for"}, "pause": {(*textScenario).pause, "for"}, "run": {(*textScenario).runFor, ""},
	"until": {(*textScenario).until, "leader committed converged equal role"},
	"logs":  {(*textScenario).logs, ""}, "state": {(*textScenario).state, ""}, "trace": {(*textScenario).trace, "heartbeats"},
}

// operands are how many operands a command may have: one for each member, one, or none.
var commandOperands = map[string]int{
	"register": 99, "elect": 1, "timers": 99, "write": 1, "result": 99, "isolate": 99, "cut": 99, "drop": 1, "hold": 1,
	"release": 99, "resend": 1, "kill": 99, "start": 99, "stall": 99, "pause": 99, "run": 1, "trace": 99,
}

// checkCommand returns an error for a name that a command would ignore: a scenario with such a name
// would not show what it says.
func checkCommand(d *datadriven.TestData) error {
	command, known := textCommands[d.Cmd]
	if !known {
		return fmt.Errorf("there is no command %q", d.Cmd)
	}
	options, operands := strings.Fields(command.options), 0
	for _, arg := range d.CmdArgs {
		switch {
		case slices.Contains(options, arg.Key):
		case len(arg.Vals) > 0:
			return fmt.Errorf("%s has no argument %q; it has %v", d.Cmd, arg.Key, options)
		default:
			operands++
		}
		if err := checkArgument(arg); err != nil {
			return err
		}
	}
	if operands > commandOperands[d.Cmd] {
		return fmt.Errorf("%s has %d operands, and takes %d; its options are %v", d.Cmd, operands, commandOperands[d.Cmd], options)
	}
	return nil
}

// checkArgument checks the values that would otherwise match nothing.
func checkArgument(arg datadriven.CmdArg) error {
	switch arg.Key {
	case "kinds":
		for _, kind := range arg.Vals {
			if names := peerMessageNames(); !slices.Contains(names, kind) {
				return fmt.Errorf("members send each other no %q; they send %v", kind, names)
			}
		}
	case "role":
		roles := []string{"follower", "preCandidate", "candidate", "leader"}
		if len(arg.Vals) != 2 || !slices.Contains(roles, arg.Vals[1]) {
			return fmt.Errorf("role=%v: give a member and one of %v", arg.Vals, roles)
		}
	}
	return nil
}

// peerMessageNames returns the names of the messages that members send each other.
func peerMessageNames() (names []string) {
	for field := range protowire.Number(100) {
		if m := messages.NewPeerMessage(field); m != nil {
			names = append(names, string(m.ProtoReflect().Descriptor().Name()))
		}
	}
	return names
}

// A misspelled name must not be ignored.
func TestUnknownNamesInTextScenariosAreErrors(t *testing.T) {
	for line, word := range map[string]string{
		"krill 1":                            `no command "krill"`,
		"write a att=2":                      `no argument "att"`,
		"write a nowiat":                     "2 operands",
		"elect 1 2":                          "2 operands",
		"heal 1":                             "1 operands",
		"drop x from=1 kinds=(AppendEntrys)": "AppendEntries",
		"hold x kinds=(Committed)":           "AppendEntries",
		"hold x after=2":                     `no argument "after"`,
		"until role=(1,folower)":             "follower",
		"cluster member=5":                   `no argument "member"`,
		"drop x from=1 to=2 kinds=(AppendEntries)":     "",
		"until role=(1,follower)":                      "",
		"read at=1 mode=local as=r nowait":             "",
		"cluster members=5 seed=2 silent single-entry": "",
	} {
		name, args, err := datadriven.ParseLine(line)
		if err != nil {
			t.Fatal(err)
		}
		err = checkCommand(&datadriven.TestData{Cmd: name, CmdArgs: args})
		if (err == nil) != (word == "") || err != nil && !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %v, want %q", line, err, word)
		}
	}
}
