package history

import "fmt"

// ScriptClient is the client id of a scenario's script.
const ScriptClient = 0

// FirstScriptKey is the first of the keys that scripts write.
const FirstScriptKey = 1 << 20

// InitialKey is the key that the commands of an initial log append to.
const InitialKey = 1 << 30

// Caller names the client of an operation.
func (o *Operation) Caller() string {
	if o.ClientID == ScriptClient {
		return "script"
	}
	return fmt.Sprintf("client %d", o.ClientID)
}

// Request describes what a command asks for.
func (c *Command) Request() string {
	key := fmt.Sprintf("k%d", c.Key)
	switch {
	case c.Key == InitialKey:
		key = "initial"
	case c.Key >= FirstScriptKey:
		key = fmt.Sprintf("s%d", c.Key-FirstScriptKey)
	}
	switch c.Kind {
	case Put:
		return fmt.Sprintf("%s = %q", key, c.Value)
	case Append:
		return fmt.Sprintf("%s + %q", key, c.Value)
	case CompareAndSwap:
		return fmt.Sprintf("%s: %q → %q", key, c.Expect, c.Value)
	}
	return key
}

// Response describes the outcome of an operation that is over.
func (o *Operation) Response() string {
	switch {
	case o.Outcome != Answered:
		return o.Outcome.String()
	case o.Kind == CompareAndSwap && !o.Reply.Swapped:
		return fmt.Sprintf("answered at %d, found %q", o.Index, o.Reply.Before)
	case o.Kind.Writes():
		return fmt.Sprintf("answered at %d", o.Index)
	}
	return fmt.Sprintf("answered at %d: %q", o.Index, o.Reply.Before)
}
