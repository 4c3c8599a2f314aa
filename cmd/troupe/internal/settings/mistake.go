package settings

import (
	"fmt"

	"github.com/spf13/pflag"
)

// Mistake is a setting that cannot be meant: which one, what is wrong with it, and what to write instead.
type Mistake struct {
	// Setting is the flag as a person writes it, "--initial-cluster"; where the value came from the environment or a
	// file, that is named beside it.
	Setting string
	What    string
	Advice  string
}

func (m *Mistake) Error() string {
	if m.Advice == "" {
		return m.Setting + ": " + m.What
	}
	return fmt.Sprintf("%s: %s; %s", m.Setting, m.What, m.Advice)
}

// NoValue is the mistake of a value that a flag cannot take. where is what the value was written behind: the flag itself, a
// variable, a line of a file.
func NoValue(where, value string, flag *pflag.Flag) *Mistake {
	what := "is no value for it"
	if where != "--"+flag.Name {
		what = "is no value for --" + flag.Name
	}
	_, usage := pflag.UnquoteUsage(flag)
	return &Mistake{Setting: where, What: fmt.Sprintf("%q %s", value, what), Advice: "it means: " + usage}
}
