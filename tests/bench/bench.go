package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/troupe-raft/troupe/tests/procs"
	"golang.org/x/sys/unix"
)

// options are the flags that every mode has.
type options struct {
	servers string
	dir     string
	output  string
	quick   bool
	troupe  string
	etcd    string
}

func (o *options) register(flags *flag.FlagSet) {
	flags.StringVar(&o.servers, "servers", "etcd,troupe", "which to measure; ratios are of the second to the first")
	flags.StringVar(&o.dir, "dir", "", "where data goes; on a real disk (default: the system's directory for temporary files)")
	flags.StringVar(&o.output, "o", "", "a Markdown file whose section of this mode is replaced")
	flags.BoolVar(&o.quick, "quick", false, "a short run that shows that all works; its figures say nothing")
	flags.StringVar(&o.troupe, "troupe-bin", "", "a troupe to measure (default: built from this checkout)")
	flags.StringVar(&o.etcd, "etcd-bin", "", "an etcd to measure (default: v3.7.3, built from its module)")
}

// bench is what a measurement runs on: the programs, a directory on a real disk, and the clusters
// it has started.
type bench struct {
	options
	root     string // of the checkout
	work     string // removed at the end
	programs []procs.Program
	clusters []*procs.Cluster // started, to be ended at the end
	started  time.Time
	busy     float64 // load average before anything was started
}

// serverFlags are given to both: the defaults of both, said so that they cannot part unseen.
var serverFlags = []string{"--heartbeat-interval=100", "--election-timeout=1000"}

func newBench(ctx context.Context, o options) (*bench, error) {
	root, err := procs.Root()
	if err != nil {
		return nil, err
	}
	work, err := os.MkdirTemp(o.dir, "troupe-bench-")
	if err != nil {
		return nil, err
	}
	b := &bench{options: o, root: root, work: work, started: time.Now(), busy: loadAverage()}
	if err := b.buildPrograms(ctx); err != nil {
		return nil, errors.Join(err, b.close())
	}
	return b, nil
}

func (b *bench) buildPrograms(ctx context.Context) error {
	if kind := filesystem(b.work); kind == "tmpfs" || kind == "ramfs" {
		return fmt.Errorf("%s is on %s, where an fsync costs nothing: name a directory on a disk with -dir", b.work, kind)
	}
	for variable, path := range map[string]string{procs.TroupeBinary: b.troupe, procs.EtcdBinary: b.etcd} {
		if path != "" {
			if err := os.Setenv(variable, path); err != nil {
				return err
			}
		}
	}
	for name := range strings.SplitSeq(b.servers, ",") {
		var program procs.Program
		var err error
		fmt.Fprintf(os.Stderr, "building %s\n", name)
		switch name {
		case "troupe":
			program, err = procs.Troupe(ctx, b.work)
		case "etcd":
			program, err = procs.Etcd(ctx, b.work)
		default:
			err = fmt.Errorf("-servers: no server %q: give etcd, troupe or both", name)
		}
		if err != nil {
			return err
		}
		b.programs = append(b.programs, program)
	}
	if len(b.programs) > 2 {
		return errors.New("-servers: at most two are compared")
	}
	return nil
}

// startCluster starts three members of a program. They are ended with the bench at the latest.
func (b *bench) startCluster(ctx context.Context, program procs.Program, purpose string, flags ...string) (*procs.Cluster, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	c, err := procs.StartCluster(ctx, procs.Config{
		Program: program,
		Size:    3,
		Dir:     filepath.Join(b.work, program.Name+"-"+purpose),
		Flags:   append(slices.Clone(serverFlags), flags...),
	})
	if err != nil {
		return nil, fmt.Errorf("starting three of %s: %w", program.Name, err)
	}
	b.clusters = append(b.clusters, c)
	return c, nil
}

// endClusters ends all that was started so far and removes its data.
func (b *bench) endClusters() error {
	var errs []error
	for _, c := range b.clusters {
		errs = append(errs, c.Close())
		for _, m := range c.Members {
			errs = append(errs, os.RemoveAll(filepath.Dir(m.DataDir)))
		}
	}
	b.clusters = nil
	return errors.Join(errs...)
}

func (b *bench) close() error {
	return errors.Join(b.endClusters(), os.RemoveAll(b.work))
}

// progress tells a person who waits what is being done.
func (b *bench) progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%6.1fs  %s\n", time.Since(b.started).Seconds(), fmt.Sprintf(format, args...))
}

// preamble says what the figures were taken on.
func (b *bench) preamble() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%s, commit %s, %s %s/%s. %s, %d cores, %s, load average before the start %.2f.\n",
		b.started.UTC().Format("2006-01-02 15:04 UTC"), b.commit(), runtime.Version(), runtime.GOOS, runtime.GOARCH,
		processor(), runtime.NumCPU(), filesystem(b.work), b.busy)
	for _, p := range b.programs {
		version, _ := exec.Command(p.Path, "--version").CombinedOutput()
		first, _, _ := strings.Cut(strings.TrimSpace(string(version)), "\n")
		fmt.Fprintf(&s, "%s: `%s`. ", p.Name, first)
	}
	fmt.Fprintf(&s, "Three members each, flags `%s`.\n", strings.Join(serverFlags, " "))
	if b.quick {
		s.WriteString("\n**A quick run: it shows that the harness works, not how fast anything is.**\n")
	}
	return s.String()
}

func (b *bench) commit() string {
	out, err := exec.Command("git", "-C", b.root, "describe", "--always", "--dirty").Output()
	if err != nil {
		return "unknown"
	}
	return string(bytes.TrimSpace(out))
}

func processor() string {
	info, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(info)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown processor"
}

func loadAverage() float64 {
	data, _ := os.ReadFile("/proc/loadavg")
	var one float64
	_, _ = fmt.Sscan(string(data), &one)
	return one
}

// filesystem names the kind of file system a path is on, as far as it matters for an fsync.
func filesystem(path string) string {
	var stat unix.Statfs_t
	if err := unix.Statfs(path, &stat); err != nil {
		return "unknown file system"
	}
	names := map[int64]string{
		unix.TMPFS_MAGIC: "tmpfs", unix.RAMFS_MAGIC: "ramfs", unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs",
		unix.BTRFS_SUPER_MAGIC: "btrfs", unix.OVERLAYFS_SUPER_MAGIC: "overlayfs",
	}
	if name, ok := names[int64(stat.Type)]; ok {
		return name
	}
	return fmt.Sprintf("file system %#x", stat.Type)
}

// blocksOf is the space that a file takes, which for a sparse or preallocated one is not its
// length.
func blocksOf(path string) int64 {
	var stat unix.Stat_t
	if err := unix.Lstat(path, &stat); err != nil {
		return 0
	}
	return stat.Blocks * 512 // st_blocks counts these, whatever the file system's block is
}
