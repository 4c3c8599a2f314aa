package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/troupe-raft/troupe/cmd/troupe/internal/client"
	"github.com/troupe-raft/troupe/cmd/troupe/internal/output"
	"github.com/troupe-raft/troupe/raft"
)

func newStatus() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show every member of the cluster",
		Long: `Show every member of the cluster: its version and role, its term and log positions, the sizes of log and store,
and whether it can be reached.

One endpoint is enough: it lists all members. The exit code is 1 if a member did not respond, or reports a problem or
an alarm. VERSION is that of Troupe, API that of the etcd API. LOG is on disk; STORE is the larger one of the store's
size on disk and its live data before compression, which --quota-backend-bytes limits.`,
		Example: `  troupe status
  troupe status -o json
  troupe status --endpoints 10.0.0.1:2379 --cacert ca.pem`,
		Args: noArgs,
	}
	flags := addClientFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return flags.printStatuses(cmd, "status", statusResult, healthError)
	}
	return cmd
}

// printStatuses prints what result makes of the statuses of all members, and returns the error that
// check finds in them.
func (f *clientFlags) printStatuses(
	cmd *cobra.Command, name string, result func([]client.MemberStatus) output.Result, check func([]client.MemberStatus) error,
) error {
	return f.run(cmd, func(ctx context.Context, cluster *client.Cluster) error {
		members, err := cluster.Statuses(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := f.print(cmd, result(members)); err != nil {
			return err
		}
		return check(members)
	})
}

// healthError returns an error if members did not respond or report problems, or if none has a
// leader.
func healthError(members []client.MemberStatus) error {
	down, leaders := 0, 0
	var problems []string
	for _, m := range members {
		if m.Status == nil {
			down++
		} else if m.Status.Leader != 0 {
			leaders++
		}
		if all := m.Problems(); len(all) > 0 {
			problems = append(problems, fmt.Sprintf("%s: %s", m.Label(), strings.Join(all, ", ")))
		}
	}
	switch {
	case leaders == 0:
		return fmt.Errorf("no leader is known to any member that responds; a majority of the %d members must run and reach each other", len(members))
	case down > 0:
		return unreachableError(members)
	case len(problems) > 0:
		return errors.New(strings.Join(problems, "; "))
	}
	return nil
}

func statusResult(members []client.MemberStatus) output.Result {
	list := make([]memberJSON, 0, len(members))
	r := output.Result{Indented: true, Header: []string{
		"NAME", "ID", "ENDPOINT", "VERSION", "API", "ROLE", "TERM", "COMMIT", "APPLIED", "LOG", "STORE", "REMARKS",
	}}
	for _, m := range members {
		list, r.Rows = append(list, newMemberJSON(m)), append(r.Rows, statusRow(m))
	}
	r.Value = list
	return r
}

func statusRow(m client.MemberStatus) []string {
	if m.Status == nil {
		return []string{orDash(m.Name), raft.FormatID(m.ID), orDash(m.Endpoint), "-", "-", "unreachable", "-", "-", "-", "-", "-", m.Err.Error()}
	}
	s := m.Status
	logBytes := "-"
	if m.LogBytes >= 0 {
		logBytes = formatBytes(m.LogBytes)
	}
	return []string{
		orDash(m.Name), raft.FormatID(m.ID), m.Endpoint, orDash(m.Version), s.Version, m.Role(),
		fmt.Sprint(s.RaftTerm), fmt.Sprint(s.RaftIndex), fmt.Sprint(s.RaftAppliedIndex), logBytes, formatBytes(s.DbSize),
		strings.Join(m.Problems(), "; "),
	}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// memberJSON is one member in the output of `status -o json`. Ids are hexadecimal, as in all texts.
type memberJSON struct {
	ID       string   `json:"id"`
	Name     string   `json:"name"`
	Endpoint string   `json:"endpoint"`
	Version  string   `json:"version,omitempty"`    // of Troupe
	API      string   `json:"apiVersion,omitempty"` // of the etcd API
	Role     string   `json:"role"`
	Leader   string   `json:"leader,omitempty"`
	Term     uint64   `json:"term,omitempty"`
	Commit   uint64   `json:"commit,omitempty"`
	Applied  uint64   `json:"applied,omitempty"`
	Revision int64    `json:"revision,omitempty"`
	LogBytes int64    `json:"logBytes,omitempty"`
	Bytes    int64    `json:"bytes,omitempty"`
	InUse    int64    `json:"bytesInUse,omitempty"`
	Errors   []string `json:"errors,omitempty"`
}

func newMemberJSON(m client.MemberStatus) memberJSON {
	s := m.Status
	if s == nil {
		return memberJSON{
			ID: raft.FormatID(m.ID), Name: m.Name, Endpoint: m.Endpoint, Role: "unreachable", Errors: []string{m.Err.Error()},
		}
	}
	leader := ""
	if s.Leader != 0 {
		leader = raft.FormatID(s.Leader)
	}
	return memberJSON{
		ID: raft.FormatID(m.ID), Name: m.Name, Endpoint: m.Endpoint, Version: m.Version, API: s.Version, Role: m.Role(), Leader: leader,
		Term: s.RaftTerm, Commit: s.RaftIndex, Applied: s.RaftAppliedIndex, Revision: s.Header.GetRevision(),
		LogBytes: max(m.LogBytes, 0),
		Bytes:    s.DbSize, InUse: s.DbSizeInUse, Errors: m.Problems(),
	}
}
