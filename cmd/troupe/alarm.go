package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/troupe-raft/troupe/cmd/troupe/internal/client"
	"github.com/troupe-raft/troupe/cmd/troupe/internal/output"
	"github.com/troupe-raft/troupe/raft"
)

// alarmJSON is one alarm in the output of `alarm list -o json`.
type alarmJSON struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Alarm string `json:"alarm"`
}

func newAlarm() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "alarm",
		Short: "List the alarms of the members",
		Long: `List the alarms of the members. An alarm ends with its cause, so there is no command that disarms it:

  NOSPACE  puts are refused: the disk is almost full (make room), or the data have reached --quota-backend-bytes
           (delete keys, then "troupe compact REVISION" and "troupe defrag")
  CORRUPT  the member stopped because its data are damaged`,
		Example: "  troupe alarm list",
		Args:    cobra.ArbitraryArgs,
		RunE:    runGroup,
	}
	cmd.AddCommand(newAlarmList())
	return cmd
}

func newAlarmList() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the alarms of the members",
		Long:  "List the alarms of every member. One endpoint is enough. The exit code is 1 if a member did not respond.",
		Example: `  troupe alarm list
  troupe alarm list -o json`,
		Args: noArgs,
	}
	flags := addClientFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return flags.printStatuses(cmd, "alarm list", alarmResult, unreachableError)
	}
	return cmd
}

func alarmResult(members []client.MemberStatus) output.Result {
	alarms := []alarmJSON{}
	for _, m := range members {
		for _, alarm := range m.Alarms() {
			alarms = append(alarms, alarmJSON{raft.FormatID(m.ID), m.Name, alarm})
		}
	}
	r := output.Result{Value: alarms, Indented: true, Header: []string{"NAME", "ID", "ALARM"}}
	for _, a := range alarms {
		r.Rows = append(r.Rows, []string{orDash(a.Name), a.ID, a.Alarm})
	}
	r.Simple = func(w io.Writer) error {
		for _, a := range alarms {
			if _, err := fmt.Fprintf(w, "member %s (%s): %s\n", orDash(a.Name), a.ID, a.Alarm); err != nil {
				return err
			}
		}
		return nil
	}
	return r
}

// unreachableError returns an error if members did not respond.
func unreachableError(members []client.MemberStatus) error {
	down := 0
	for _, m := range members {
		if m.Status == nil {
			down++
		}
	}
	if down == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d members did not respond; start them, or check the network", down, len(members))
}
