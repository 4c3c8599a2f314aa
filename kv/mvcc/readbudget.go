package mvcc

import "context"

// ReadBudget is asked before an answer grows. Its refusal ends the read, and is the read's error.
type ReadBudget interface {
	Reserve(bytes int) error
}

type readBudgetKey struct{}

// WithReadBudget has reads of ranges under this context ask the meter. What Apply reads is never asked about: it must come to
// the same everywhere.
func WithReadBudget(ctx context.Context, m ReadBudget) context.Context {
	return context.WithValue(ctx, readBudgetKey{}, m)
}

// readBudgetOf is the context's meter, nil for none.
func readBudgetOf(ctx context.Context) ReadBudget {
	m, _ := ctx.Value(readBudgetKey{}).(ReadBudget)
	return m
}

// keyValueOverheadBytes is about what a key-value in an answer takes beside its key and value.
const keyValueOverheadBytes = 96
