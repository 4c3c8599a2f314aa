package demo

import (
	"fmt"
	"strings"
	"text/tabwriter"
)

// introduce prints the cluster and what to try with it.
func (d *demo) printIntroduction() {
	d.introduced = true
	out := d.options.Out
	var endpoints []string
	fmt.Fprintf(out, "\nA cluster of %d, each a process of its own:\n\n", len(d.members))
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "  MEMBER\tPROCESS\tCLIENTS\tPEERS\tDATA\tLOG")
	for _, m := range d.members {
		endpoints = append(endpoints, m.Endpoint())
		fmt.Fprintf(table, "  %s\t%d\thttp://%s\t%s\t%s\t%s\n", m.Name, d.pids[m.Name], m.Endpoint(), m.peerURL(), m.DataDir, m.LogFile)
	}
	_ = table.Flush()
	kept := "The data goes with the demo; --data-dir keeps it."
	if d.options.DataDir != "" {
		kept = fmt.Sprintf("The data stays in %s: the same command finds it again.", d.dir)
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

Then kill the leader, and go on writing:

  kill -9 %[4]d                    # %[5]s
%[6]s
Ctrl-C ends all of it.

`, kept, all, d.options.Called, d.pids[d.leader], d.leader, d.afterKill())
}

func (d *demo) afterKill() string {
	if len(d.members) == 1 {
		return "\nOne member alone is down until it is started again.\n"
	}
	tolerated := (len(d.members) - 1) / 2
	text := fmt.Sprintf("\n%d of %d may be down at a time.", tolerated, len(d.members))
	if tolerated == 0 {
		text = "\nBoth members are needed for a majority: with one down nothing is written."
	}
	if d.options.Restart {
		text += fmt.Sprintf(" A member that died is started again after %v (--restart=false: not).", restartPause)
	}
	return text + "\n"
}

// nextSteps is what becomes of a member that died.
func (d *demo) nextSteps(name string) string {
	if d.options.Restart {
		return fmt.Sprintf("; starting it again in %v", restartPause)
	}
	for _, m := range d.members {
		if m.Name == name {
			return fmt.Sprintf("; start it again with:\n  %s %s", d.options.Called, strings.Join(withoutStopWithStdin(m.Args), " "))
		}
	}
	return ""
}

// withoutStopWithStdin are the arguments for a process that is nobody's child.
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
		fmt.Fprintln(d.options.Out, "Stopped. The data is removed.")
	}
}
