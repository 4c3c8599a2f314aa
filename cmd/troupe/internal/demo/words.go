package demo

import (
	"fmt"
	"strings"
	"text/tabwriter"
)

// printIntroduction prints the cluster and commands to try.
func (d *demo) printIntroduction() {
	d.introduced = true
	out := d.options.Out
	var endpoints []string
	fmt.Fprintf(out, "\nA cluster of %d members, each a process of its own:\n\n", len(d.members))
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "  MEMBER\tPROCESS\tCLIENTS\tPEERS\tDATA\tLOG")
	for _, m := range d.members {
		endpoints = append(endpoints, m.Endpoint())
		fmt.Fprintf(table, "  %s\t%d\thttp://%s\t%s\t%s\t%s\n", m.Name, d.pids[m.Name], m.Endpoint(), m.peerURL(), m.DataDir, m.LogFile)
	}
	_ = table.Flush()
	kept := "The demo removes the data at its end; --data-dir keeps it."
	if d.options.DataDir != "" {
		kept = fmt.Sprintf("The data stays in %s; the same command uses it again.", d.dir)
	}
	all := strings.Join(endpoints, ",")
	fmt.Fprintf(out, `%s

In another terminal:

  export TROUPE_ENDPOINTS=%s
  %[3]s put greeting hello
  %[3]s get greeting
  %[3]s watch --prefix ""          # and put something in a third terminal
  %[3]s status

  etcdctl --endpoints=%[2]s put greeting hello
  etcdctl --endpoints=%[2]s endpoint status -w table

Then kill the leader and continue to write:

  kill -9 %[4]d                    # %[5]s
%[6]s
Ctrl-C stops the demo.

`, kept, all, d.options.Called, d.pids[d.leader], d.leader, d.afterKill())
}

func (d *demo) afterKill() string {
	if len(d.members) == 1 {
		return "\nThe cluster of one member is down until the member is started again.\n"
	}
	tolerated := (len(d.members) - 1) / 2
	text := fmt.Sprintf("\n%d of %d may be down at a time.", tolerated, len(d.members))
	if tolerated == 0 {
		text = "\nBoth members are needed for a majority: no write succeeds while one is down."
	}
	if d.options.Restart {
		text += fmt.Sprintf(" A member that ended is started again after %v (unless --restart=false).", restartPause)
	}
	return text + "\n"
}

// nextSteps returns what follows the end of a member's process: a restart, or the command for one.
func (d *demo) nextSteps(name string) string {
	if d.options.Restart {
		return fmt.Sprintf("; it starts again in %v", restartPause)
	}
	for _, m := range d.members {
		if m.Name == name {
			return fmt.Sprintf("; start it again with:\n  %s %s", d.options.Called, strings.Join(withoutStopWithStdin(m.Args), " "))
		}
	}
	return ""
}

// withoutStopWithStdin returns the arguments for a process that a user starts.
func withoutStopWithStdin(args []string) []string {
	var kept []string
	for _, a := range args {
		if a != "--stop-with-stdin" {
			kept = append(kept, a)
		}
	}
	return kept
}

func (d *demo) printSummary(err error) {
	switch {
	case d.options.DataDir != "":
		fmt.Fprintf(d.options.Out, "Stopped. Data and logs stay in %s.\n", d.dir)
	case err == nil:
		fmt.Fprintln(d.options.Out, "Stopped. The data was removed.")
	}
}
