package trace

// Memory is a Recorder that keeps the events of a run.
type Memory struct {
	Header Header
	Events []*Event
}

// Begin keeps the header.
func (m *Memory) Begin(h Header) {
	h.Format, h.Version = Format, Version
	m.Header = h
}

// Record keeps an event.
func (m *Memory) Record(e *Event) { m.Events = append(m.Events, e) }
