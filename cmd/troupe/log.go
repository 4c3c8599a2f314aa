package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/troupe-raft/troupe/cmd/troupe/internal/exit"
	"github.com/troupe-raft/troupe/cmd/troupe/internal/logview"
	"github.com/troupe-raft/troupe/cmd/troupe/internal/output"
	"github.com/troupe-raft/troupe/persistence"
	"github.com/troupe-raft/troupe/persistence/vfs"
	"github.com/troupe-raft/troupe/raft"
)

func newLog() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "log",
		Short: "Inspect the log of a data directory",
		Long:  "Inspect the log of a data directory. Nothing is changed. Stop the server that uses the directory first.",
		Example: `  troupe log verify --data-dir /var/lib/troupe
  troupe log dump --data-dir /var/lib/troupe`,
		Args: cobra.ArbitraryArgs,
		RunE: runGroup,
	}
	cmd.AddCommand(newLogDump(), newLogVerify())
	return cmd
}

// logFlags are the flags of `log dump` and `log verify`.
type logFlags struct {
	dataDir string
	options logview.Options
}

func addLogFlags(cmd *cobra.Command) *logFlags {
	f := &logFlags{}
	cmd.Flags().StringVar(&f.dataDir, "data-dir", "", "the server's data `directory` (TROUPE_DATA_DIR)")
	addOutputFlag(cmd, &f.options.Format)
	cmd.Flags().BoolVar(&f.options.EvenIfRunning, "even-if-running", false, "read the log while a server uses it; a frame that is being written looks torn")
	return f
}

func (f *logFlags) directory() (string, error) {
	if f.dataDir == "" {
		f.dataDir = os.Getenv("TROUPE_DATA_DIR")
	}
	if f.dataDir == "" {
		return "", usageError("--data-dir is missing: name the data directory of a server")
	}
	if _, err := os.Stat(f.dataDir); err != nil {
		return "", exit.With(exit.DataDir, fmt.Errorf("--data-dir: %w", err))
	}
	return f.dataDir, nil
}

func newLogDump() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dump",
		Short: "Print every entry of the log in the order of writing",
		Long: `Print every frame of the log with its entries, in the order of writing. Entries that a later frame replaces (after a
conflict with a leader's log) are printed too.`,
		Example: `  troupe log dump --data-dir /var/lib/troupe
  troupe log dump --data-dir /var/lib/troupe --from 100 --to 120
  troupe log dump --data-dir /var/lib/troupe -o json | jq -c '.entries[]?'`,
		Args: noArgs,
	}
	f := addLogFlags(cmd)
	cmd.Flags().Uint64Var(&f.options.From, "from", 0, "only entries from this `index` on")
	cmd.Flags().Uint64Var(&f.options.To, "to", 0, "only entries up to this `index`")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		dir, err := f.directory()
		if err != nil {
			return err
		}
		return damageError(dir, logview.Dump(cmd.OutOrStdout(), dir, f.options))
	}
	return cmd
}

func newLogVerify() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Check every checksum of the log",
		Long: `Read the whole log and check every checksum and that each frame and segment continues the one before. If the log is
damaged, the exit code is 3, and the error names file and offset.`,
		Example: "  troupe log verify --data-dir /var/lib/troupe",
		Args:    noArgs,
	}
	f := addLogFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		dir, err := f.directory()
		if err != nil {
			return err
		}
		report, err := persistence.Verify(vfs.OS(), dir, persistence.InspectOptions{EvenIfRunning: f.options.EvenIfRunning})
		if err != nil {
			return damageError(dir, err)
		}
		return output.Print(cmd.OutOrStdout(), f.options.Format, reportResult(report))
	}
	return cmd
}

// damageError returns err with the exit code DataDir.
func damageError(dir string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = fmt.Errorf("%s holds no data of a server: %w", dir, err)
	case errors.Is(err, persistence.ErrLocked):
		err = fmt.Errorf("--data-dir: %s is in use by a running server: stop the server first, or read beside it with --even-if-running", dir)
	}
	return exit.With(exit.DataDir, err)
}

// reportJSON is the output of `log verify -o json`.
type reportJSON struct {
	Cluster  string   `json:"cluster"`
	Member   string   `json:"member"`
	First    uint64   `json:"firstIndex"`
	Last     uint64   `json:"lastIndex"`
	Term     uint64   `json:"term"`
	Vote     string   `json:"vote,omitempty"`
	Commit   uint64   `json:"commit"`
	Segments int      `json:"segments"`
	Frames   int      `json:"frames"`
	Entries  int      `json:"entries"`
	Bytes    int64    `json:"bytes"`
	Warnings []string `json:"warnings,omitempty"`
}

func reportResult(r persistence.Report) output.Result {
	out := reportJSON{
		Cluster: raft.FormatID(r.Identity.ClusterID), Member: raft.FormatID(r.Identity.NodeID),
		First: r.FirstIndex, Last: r.LastIndex, Term: r.HardState.GetTerm(), Commit: r.HardState.GetCommit(),
		Segments: r.Segments, Frames: r.Frames, Entries: r.Entries, Bytes: r.Bytes, Warnings: r.Warnings,
	}
	if vote := r.HardState.GetVote(); vote != 0 {
		out.Vote = raft.FormatID(vote)
	}
	return output.Result{
		Value: out, Indented: true, Simple: out.print,
		Header: []string{"CLUSTER", "MEMBER", "FIRST", "LAST", "TERM", "VOTE", "COMMIT", "SEGMENTS", "FRAMES", "ENTRIES", "SIZE", "WARNINGS"},
		Rows: [][]string{{
			out.Cluster, out.Member, fmt.Sprint(out.First), fmt.Sprint(out.Last), fmt.Sprint(out.Term), orDash(out.Vote), fmt.Sprint(out.Commit),
			fmt.Sprint(out.Segments), fmt.Sprint(out.Frames), fmt.Sprint(out.Entries), formatBytes(out.Bytes), strings.Join(out.Warnings, "; "),
		}},
	}
}

func (out reportJSON) print(w io.Writer) error {
	for _, warning := range out.Warnings {
		fmt.Fprintf(w, "warning: %s\n", warning)
	}
	_, err := fmt.Fprintf(w, "member %s of cluster %s: the log is intact\nentries %d to %d, term %d, commit %d; %d frames in %d segments, %s\n",
		out.Member, out.Cluster, out.First, out.Last, out.Term, out.Commit, out.Frames, out.Segments, formatBytes(out.Bytes))
	return err
}
