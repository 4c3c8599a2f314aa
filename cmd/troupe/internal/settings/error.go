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

// SetFlag sets a flag of fs. If the flag does not accept the value, which the source gave, it has
// its default again, so that no rule finds fault with what the user did not write.
func SetFlag(fs *pflag.FlagSet, flag *pflag.Flag, source, value string) error {
	if fs.Set(flag.Name, value) == nil {
		return nil
	}
	_ = flag.Value.Set(flag.DefValue) // pflag sets a number that it cannot parse to 0
	return InvalidValue(source, value, flag)
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
