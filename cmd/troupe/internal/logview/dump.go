package logview

import (
	"errors"
	"fmt"
	"io"

	"github.com/troupe-raft/troupe/cmd/troupe/internal/output"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence"
	"github.com/troupe-raft/troupe/persistence/vfs"
	"github.com/troupe-raft/troupe/raft"
)

// Options select what Dump writes, and in which format.
type Options struct {
	// Format is simple, json or yaml. A table is the simple form: its columns are fixed, so that a log
	// of any size is printed as it is read.
	Format output.Format
	// From and To limit the indexes; 0 means no limit. With a limit, frames without entries in the
	// range are left out.
	From, To uint64
	// EvenIfRunning permits the log of a running server.
	EvenIfRunning bool
}

func (o Options) hasRange() bool { return o.From > 0 || o.To > 0 }

func (o Options) includes(index uint64) bool {
	return index >= o.From && (o.To == 0 || index <= o.To)
}

// frame is the JSON form of one frame of the log.
type frame struct {
	File     string  `json:"file"`
	Offset   int64   `json:"offset"`
	Bytes    int     `json:"bytes"`
	Kind     string  `json:"frame"`
	Sequence uint64  `json:"sequence"`
	Durable  int64   `json:"durable"`
	Term     uint64  `json:"hardTerm"`
	Vote     string  `json:"vote,omitempty"`
	Commit   uint64  `json:"commit"`
	After    uint64  `json:"logEndsBefore,omitempty"`
	Base     string  `json:"base,omitempty"`
	Entries  []Entry `json:"entries,omitempty"`
}

// Dump writes every frame of a data directory's log with its entries, in the order of writing.
func Dump(w io.Writer, dataDir string, o Options) error {
	p := &printer{w: w, options: o}
	how := persistence.InspectOptions{EvenIfRunning: o.EvenIfRunning}
	return persistence.Dump(vfs.OS(), dataDir, how, p.printFrame)
}

type printer struct {
	w       io.Writer
	options Options
	file    string // of the last frame that was printed
}

func (p *printer) printFrame(info persistence.FrameInfo) error {
	f := frame{
		File: info.File, Offset: info.Offset, Bytes: info.Bytes, Kind: info.Kind, Sequence: info.Sequence, Durable: info.DurableEnd,
		Term: info.HardState.GetTerm(), Commit: info.HardState.GetCommit(), After: info.First,
	}
	if vote := info.HardState.GetVote(); vote != 0 {
		f.Vote = raft.FormatID(vote)
	}
	if info.BaseConfiguration != nil {
		f.Base = fmt.Sprintf("index %d, term %d, cluster %s", info.BaseIndex, info.BaseTerm, Configuration(info.BaseConfiguration))
	}
	forEachEntry(info.Entries, func(index, term uint64, data []byte) {
		if p.options.includes(index) {
			f.Entries = append(f.Entries, Describe(index, term, data))
		}
	})
	if p.options.hasRange() && len(f.Entries) == 0 {
		return nil
	}
	if format := p.options.Format; format == output.JSON || format == output.YAML {
		return output.Print(p.w, format, output.Result{Value: f})
	}
	return p.printText(f)
}

func (p *printer) printText(f frame) error {
	if f.File != p.file {
		p.file = f.File
		fmt.Fprintf(p.w, "%s\n", f.File)
	}
	fmt.Fprintf(p.w, "  @%-9d %-5s #%d  %d bytes, synced to %d; term %d, vote %s, commit %d", f.Offset, f.Kind, f.Sequence, f.Bytes, f.Durable,
		f.Term, orNone(f.Vote), f.Commit)
	if f.Base != "" {
		fmt.Fprintf(p.w, "; begins after %s", f.Base)
	}
	fmt.Fprintln(p.w)
	for _, e := range f.Entries {
		fmt.Fprintf(p.w, "    %8d  term %-3d %-13s %s", e.Index, e.Term, e.Kind, e.What)
		if e.Hash != "" {
			fmt.Fprintf(p.w, "  (session %s, sequence %d, hash %s)", e.Session, e.Sequence, e.Hash)
		}
		if _, err := fmt.Fprintln(p.w); err != nil {
			return err
		}
	}
	return nil
}

func orNone(vote string) string {
	if vote == "" {
		return "none"
	}
	return vote
}

// forEachEntry calls visit for each entry with its term.
func forEachEntry(entries *messages.Entries, visit func(index, term uint64, data []byte)) {
	run := 0
	for i, data := range entries.GetData() {
		index := entries.First + uint64(i)
		for run+1 < len(entries.Runs) && entries.Runs[run+1].FirstIndex <= index {
			run++
		}
		var term uint64
		if run < len(entries.Runs) {
			term = entries.Runs[run].Term
		}
		visit(index, term, data)
	}
}

var errFound = errors.New("found")

// Owner returns the name of the member to which a data directory belongs, from the first
// configuration in its log that names it. It returns "" if that cannot be read. It changes nothing
// and takes no lock.
func Owner(dataDir string) string {
	filesystem := vfs.OS()
	identity, err := persistence.ReadIdentity(filesystem, dataDir)
	if err != nil {
		return ""
	}
	name := ""
	_ = persistence.Dump(filesystem, dataDir, persistence.InspectOptions{EvenIfRunning: true}, func(info persistence.FrameInfo) error {
		forEachEntry(info.Entries, func(_, _ uint64, data []byte) {
			if found := memberName(data, identity.NodeID); found != "" {
				name = found
			}
		})
		if name != "" {
			return errFound
		}
		return nil
	})
	return name
}
