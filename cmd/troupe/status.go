package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/troupe-raft/troupe/cmd/troupe/internal/client"
	"github.com/troupe-raft/troupe/raft"
)

func newStatus() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show every member of the cluster",
		Long: `Show every member of the cluster: its role, its term and log positions, and whether it can be reached.

One endpoint is enough: it lists all members. The exit code is not 0 if a member did not respond.`,
		Example: `  troupe status
  troupe status -w json
  troupe status --endpoints 10.0.0.1:2379 --cacert ca.pem`,
		Args: noArgs,
	}
	flags := addClientFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return flags.run(cmd, func(ctx context.Context, cluster *client.Cluster) error {
			members, err := cluster.Statuses(ctx)
			if err != nil {
				return fmt.Errorf("status: %w", err)
			}
			print := printStatusTable
			if flags.output == "json" {
				print = printStatusJSON
			}
			if err := print(cmd.OutOrStdout(), members); err != nil {
				return err
			}
			return unreachableError(members)
		})
	}
	return cmd
}

// unreachableError returns an error if members did not respond or none has a leader.
func unreachableError(members []client.MemberStatus) error {
	down, leaders := 0, 0
	for _, m := range members {
		if m.Status == nil {
			down++
		} else if m.Status.Leader != 0 {
			leaders++
		}
	}
	switch {
	case leaders == 0:
		return fmt.Errorf("no member has a leader; a majority of the %d members must be running", len(members))
	case down > 0:
		return fmt.Errorf("%d of %d members did not respond; start them, or check the network", down, len(members))
	}
	return nil
}

func printStatusTable(w io.Writer, members []client.MemberStatus) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tID\tENDPOINT\tVERSION\tROLE\tTERM\tCOMMIT\tAPPLIED\tDATA\tREMARKS")
	for _, m := range members {
		if m.Status == nil {
			fmt.Fprintf(table, "%s\t%x\t%s\t-\tunreachable\t-\t-\t-\t-\t%v\n", orDash(m.Name), m.ID, orDash(m.Endpoint), m.Err)
			continue
		}
		s := m.Status
		fmt.Fprintf(table, "%s\t%x\t%s\t%s\t%s\t%d\t%d\t%d\t%s\t%s\n", orDash(m.Name), m.ID, m.Endpoint, s.Version, m.Role(),
			s.RaftTerm, s.RaftIndex, s.RaftAppliedIndex, formatBytes(s.DbSize), strings.Join(s.Errors, "; "))
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	return nil
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// memberJSON is one member in the output of `status -w json`. Ids are hexadecimal, as in all texts.
type memberJSON struct {
	ID       string   `json:"id"`
	Name     string   `json:"name"`
	Endpoint string   `json:"endpoint"`
	Version  string   `json:"version,omitempty"`
	Role     string   `json:"role"`
	Leader   string   `json:"leader,omitempty"`
	Term     uint64   `json:"term,omitempty"`
	Commit   uint64   `json:"commit,omitempty"`
	Applied  uint64   `json:"applied,omitempty"`
	Revision int64    `json:"revision,omitempty"`
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
		ID: raft.FormatID(m.ID), Name: m.Name, Endpoint: m.Endpoint, Version: s.Version, Role: m.Role(), Leader: leader,
		Term: s.RaftTerm, Commit: s.RaftIndex, Applied: s.RaftAppliedIndex, Revision: s.Header.GetRevision(),
		Bytes: s.DbSize, InUse: s.DbSizeInUse, Errors: s.Errors,
	}
}

func printStatusJSON(w io.Writer, members []client.MemberStatus) error {
	list := make([]memberJSON, 0, len(members))
	for _, m := range members {
		list = append(list, newMemberJSON(m))
	}
	text, err := json.MarshalIndent(list, "", "  ")
	if err != nil {
		return fmt.Errorf("writing JSON: %w", err)
	}
	_, err = fmt.Fprintf(w, "%s\n", text)
	return err
}
