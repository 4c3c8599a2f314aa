package mvcc

import "context"

// ReadBudget limits the memory of a response. Reserve is called before the response grows; its
// error ends the read and is the read's error.
type ReadBudget interface {
	Reserve(bytes int) error
}

type readBudgetKey struct{}

// WithReadBudget returns a context whose range reads use the budget. Reads of Apply have no budget,
// because their result must be the same at every member.
func WithReadBudget(ctx context.Context, m ReadBudget) context.Context {
	return context.WithValue(ctx, readBudgetKey{}, m)
}

// readBudgetOf returns the context's budget, or nil.
func readBudgetOf(ctx context.Context) ReadBudget {
	m, _ := ctx.Value(readBudgetKey{}).(ReadBudget)
	return m
}

// keyValueOverheadBytes is about what a key-value takes in a response in addition to key and value.
const keyValueOverheadBytes = 96
