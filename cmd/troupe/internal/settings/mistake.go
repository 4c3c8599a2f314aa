package settings

import (
	"fmt"

	"github.com/spf13/pflag"
)

// Error is a setting that cannot be meant: which one, what is wrong with it, and what to write instead.
type Error struct {
	// Setting is the flag as a person writes it, "--initial-cluster"; where the value came from the environment or a
	// file, that is named beside it.
	Setting string
	What    string
	Advice  string
}

func (m *Error) Error() string {
	if m.Advice == "" {
		return m.Setting + ": " + m.What
	}
	return fmt.Sprintf("%s: %s; %s", m.Setting, m.What, m.Advice)
}

// InvalidValue is the mistake of a value that a flag cannot take. where is what the value was written behind: the flag itself, a
// variable, a line of a file.
func InvalidValue(where, value string, flag *pflag.Flag) *Error {
	what := "is no value for it"
	if where != "--"+flag.Name {
		what = "is no value for --" + flag.Name
	}
	_, usage := pflag.UnquoteUsage(flag)
	return &Error{Setting: where, What: fmt.Sprintf("%q %s", value, what), Advice: "it means: " + usage}
}
