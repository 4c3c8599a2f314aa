package settings

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// Error reports a setting that is invalid, has no effect or is a risk: what is wrong with it, and
// what to write instead. Its text is one line.
type Error struct {
	// Setting is the flag ("--initial-cluster"), the environment variable, or the file and line that
	// the value came from.
	Setting string
	Problem string
	Advice  string // may be empty
}

func (e *Error) Error() string {
	if e.Advice == "" {
		return e.Setting + ": " + e.Problem
	}
	return fmt.Sprintf("%s: %s; %s", e.Setting, e.Problem, e.Advice)
}

// InvalidValue returns the error for a value that the flag does not accept. The value was given by
// source: the flag itself, an environment variable, or a line of a file.
func InvalidValue(source, value string, flag *pflag.Flag) *Error {
	problem := fmt.Sprintf("invalid value %q", value)
	if source != "--"+flag.Name {
		problem += " for --" + flag.Name
	}
	kind, usage := pflag.UnquoteUsage(flag)
	if strings.Contains(kind, "|") {
		usage = kind // a choice
	}
	return &Error{Setting: source, Problem: problem, Advice: "give " + usage}
}
