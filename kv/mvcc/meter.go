package mvcc

import "context"

// Meter is asked before an answer grows. Its refusal ends the read, and is the read's error.
type Meter interface {
	Take(bytes int) error
}

type meterKey struct{}

// WithMeter has reads of ranges under this context ask the meter. What Apply reads is never asked about: it must come to
// the same everywhere.
func WithMeter(ctx context.Context, m Meter) context.Context {
	return context.WithValue(ctx, meterKey{}, m)
}

// meterOf is the context's meter, nil for none.
func meterOf(ctx context.Context) Meter {
	m, _ := ctx.Value(meterKey{}).(Meter)
	return m
}

// keyValueOverhead is about what a key-value in an answer takes beside its key and value.
const keyValueOverhead = 96
