package procs

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// readyLine is the message that a server logs once it has a leader and serves clients.
const readyLine = "ready to serve client requests"

// Member is a server with its data directory and its URLs, over successive processes.
//
// Only one goroutine at a time may use a Member.
type Member struct {
	Name      string
	DataDir   string
	ClientURL string
	PeerURL   string
	LogPath   string

	program Program
	flags   []string
	process *Process // the latest; nil before the first start
}

// NewMember returns a server without starting it. flags are added to those that name the fields.
func NewMember(program Program, m Member, flags ...string) *Member {
	m.program = program
	m.flags = slices.Concat([]string{
		"--name=" + m.Name,
		"--data-dir=" + m.DataDir,
		"--listen-client-urls=" + m.ClientURL,
		"--advertise-client-urls=" + m.ClientURL,
		"--listen-peer-urls=" + m.PeerURL,
		"--initial-advertise-peer-urls=" + m.PeerURL,
	}, flags)
	return &m
}

// AddFlags adds flags for the next start.
func (m *Member) AddFlags(flags ...string) { m.flags = append(m.flags, flags...) }

// Endpoint returns the host and port of the client URL.
func (m *Member) Endpoint() string {
	_, address, _ := strings.Cut(m.ClientURL, "://")
	return address
}

// PeerAddress returns the host and port of the peer URL.
func (m *Member) PeerAddress() string {
	_, address, _ := strings.Cut(m.PeerURL, "://")
	return address
}

// Launch starts a process without waiting until it is ready: the first members of a cluster become
// ready only with the others.
func (m *Member) Launch() error {
	if m.Running() {
		return fmt.Errorf("member %s already runs", m.Name)
	}
	p, err := Start(Command{Path: m.program.Path, Args: slices.Concat(m.program.Args, m.flags), LogPath: m.LogPath})
	if err != nil {
		return err
	}
	m.process = p
	return nil
}

// Ready waits until the process logs that it serves clients.
func (m *Member) Ready(ctx context.Context) error {
	if err := m.process.WaitFor(ctx, readyLine); err != nil {
		return fmt.Errorf("member %s: %w", m.Name, err)
	}
	return nil
}

// Start launches a process and waits until it is ready.
func (m *Member) Start(ctx context.Context) error {
	if err := m.Launch(); err != nil {
		return err
	}
	return m.Ready(ctx)
}

// Process returns the latest process; nil before the first start.
func (m *Member) Process() *Process { return m.process }

// Running reports whether a process of the member runs or is paused.
func (m *Member) Running() bool { return m.process != nil && m.process.Running() }

// Kill ends the process with SIGKILL.
func (m *Member) Kill() error { return m.process.Kill() }

// Stop ends the process with SIGTERM. It is an error if the process does not end with code 0 before
// ctx ends.
func (m *Member) Stop(ctx context.Context) error {
	code, err := m.process.Stop(ctx)
	if err == nil && code > 0 {
		err = fmt.Errorf("ended with code %d:\n%s", code, m.process.Output())
	}
	if err != nil {
		return fmt.Errorf("stopping member %s: %w", m.Name, err)
	}
	return nil
}

// Pause pauses the process; see Process.Pause.
func (m *Member) Pause() error { return m.process.Pause() }

// Resume ends a pause.
func (m *Member) Resume() error { return m.process.Resume() }
