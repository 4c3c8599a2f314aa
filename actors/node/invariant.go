package node

import "fmt"

// invariant panics with the values that violate it; the supervisor decides what follows.
func invariant(holds bool, format string, values ...any) {
	if !holds {
		panic(fmt.Errorf("broken invariant: "+format, values...))
	}
}
