package settings

import "fmt"

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
