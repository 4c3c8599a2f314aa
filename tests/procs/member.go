package procs

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// readyLine is what a server writes once it can serve: it has joined, and a leader is known.
const readyLine = "ready to serve client requests"

// Member is a server with its data directory and its URLs, over all the processes it lives through.
//
// A Member is used by one goroutine at a time.
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

// NewMember describes a server that is not started yet. Flags are added to those that follow from
// the fields.
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

// AddFlags gives the next process more flags.
func (m *Member) AddFlags(flags ...string) { m.flags = append(m.flags, flags...) }

// Endpoint is the host and port of the client URL.
func (m *Member) Endpoint() string {
	_, address, _ := strings.Cut(m.ClientURL, "://")
	return address
}

// PeerAddress is the host and port of the peer URL.
func (m *Member) PeerAddress() string {
	_, address, _ := strings.Cut(m.PeerURL, "://")
	return address
}

// Launch starts a process and does not wait until it is ready: the first members of a cluster
// cannot be, alone.
func (m *Member) Launch() error {
	if m.Running() {
		return fmt.Errorf("member %s is running already", m.Name)
	}
	p, err := Start(Command{Path: m.program.Path, Args: slices.Concat(m.program.Args, m.flags), LogPath: m.LogPath})
	if err != nil {
		return err
	}
	m.process = p
	return nil
}

// Ready waits until the process says that it serves.
func (m *Member) Ready(ctx context.Context) error {
	if err := m.process.WaitFor(ctx, readyLine); err != nil {
		return fmt.Errorf("member %s: %w", m.Name, err)
	}
	return nil
}

// Start launches a process and waits until it serves.
func (m *Member) Start(ctx context.Context) error {
	if err := m.Launch(); err != nil {
		return err
	}
	return m.Ready(ctx)
}

// Process returns the latest process; nil before the first start.
func (m *Member) Process() *Process { return m.process }

// Running says whether a process of it lives, paused or not.
func (m *Member) Running() bool { return m.process != nil && m.process.Running() }

// Kill ends it as kill -9 does.
func (m *Member) Kill() error { return m.process.Kill() }

// Stop ends it as SIGTERM does; it is an error if it does not end with code 0 before the end of
// ctx.
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

// Pause stops the process without a word to anybody; see Process.Pause.
func (m *Member) Pause() error { return m.process.Pause() }

// Resume ends a pause.
func (m *Member) Resume() error { return m.process.Resume() }
