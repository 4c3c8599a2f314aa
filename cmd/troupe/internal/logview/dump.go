package logview

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence"
	"github.com/troupe-raft/troupe/persistence/vfs"
	"github.com/troupe-raft/troupe/raft"
)

// Options say what of a log is shown, and how.
type Options struct {
	JSON bool
	// From and To bound the indexes shown; 0 for no bound. Frames without entries are left out when either is given.
	From, To uint64
	// EvenIfRunning looks at the log of a running server too.
	EvenIfRunning bool
}

func (o Options) hasRange() bool { return o.From > 0 || o.To > 0 }

func (o Options) includes(index uint64) bool {
	return index >= o.From && (o.To == 0 || index <= o.To)
}

// frame is one frame of the log in JSON; its entries follow on lines of their own.
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

// Dump writes every frame of a data directory's log with its entries, in the order in which they were written.
func Dump(w io.Writer, dataDir string, o Options) error {
	p := &printer{w: w, options: o}
	how := persistence.InspectOptions{EvenIfRunning: o.EvenIfRunning}
	return persistence.Dump(vfs.OS(), dataDir, how, p.printFrame)
}

type printer struct {
	w       io.Writer
	options Options
	file    string // the one last named
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
	if p.options.JSON {
		return json.NewEncoder(p.w).Encode(f)
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
			fmt.Fprintf(p.w, "  (origin %s, sequence %d, hash %s)", e.Origin, e.Sequence, e.Hash)
		}
		if _, err := fmt.Fprintln(p.w); err != nil {
			return err
		}
	}
	return nil
}

func orNone(vote string) string {
	if vote == "" {
		return "nobody"
	}
	return vote
}

// each visits the entries with their terms.
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

// Owner is the name of the member whose directory this is, as the first configuration in its log has it; "" where that
// cannot be told. It changes nothing and takes no lock.
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
