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

// options are the flags of every mode.
type options struct {
	servers string
	dir     string
	output  string
	quick   bool
	troupe  string
	etcd    string
}

func (o *options) register(flags *flag.FlagSet) {
	flags.StringVar(&o.servers, "servers", "etcd,troupe", "servers to measure; ratios are of the second to the first")
	flags.StringVar(&o.dir, "dir", "", "directory for data, on a real disk (default: the system's directory for temporary files)")
	flags.StringVar(&o.output, "o", "", "Markdown file in which the section of this mode is replaced")
	flags.BoolVar(&o.quick, "quick", false, "short run that shows that the harness works; its figures mean nothing")
	flags.StringVar(&o.troupe, "troupe-bin", "", "troupe binary to measure (default: built from this checkout)")
	flags.StringVar(&o.etcd, "etcd-bin", "", "etcd binary to measure (default: v3.7.3, built from its module)")
}

// bench holds the programs, the directory and the started clusters of a measurement.
type bench struct {
	options
	root        string // of the checkout
	work        string // removed at the end
	programs    []procs.Program
	clusters    []*procs.Cluster // the running ones
	started     time.Time
	loadAtStart float64 // load average before the first server started
}

// serverFlags are the flags of both servers. They are the defaults of both, stated here in case a
// default changes.
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
	b := &bench{options: o, root: root, work: work, started: time.Now(), loadAtStart: loadAverage()}
	if err := b.buildPrograms(ctx); err != nil {
		return nil, errors.Join(err, b.close())
	}
	return b, nil
}

func (b *bench) buildPrograms(ctx context.Context) error {
	if kind := filesystem(b.work); kind == "tmpfs" || kind == "ramfs" {
		return fmt.Errorf("%s is on %s, where fsync does not write to a disk; name a directory on a disk with -dir", b.work, kind)
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
			err = fmt.Errorf("-servers: unknown server %q; give etcd, troupe or both", name)
		}
		if err != nil {
			return err
		}
		b.programs = append(b.programs, program)
	}
	if len(b.programs) > 2 {
		return errors.New("-servers: more than two servers; give at most two")
	}
	return nil
}

// startCluster starts three members of a program. They run until endClusters.
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

// endClusters ends the running clusters and removes their data.
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

// progress prints a line about the progress to stderr.
func (b *bench) progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%6.1fs  %s\n", time.Since(b.started).Seconds(), fmt.Sprintf(format, args...))
}

// preamble describes the machine and the programs of the measurement.
func (b *bench) preamble() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%s, commit %s, %s %s/%s. %s, %d cores, %s, load average before the start %.2f.\n",
		b.started.UTC().Format("2006-01-02 15:04 UTC"), b.commit(), runtime.Version(), runtime.GOOS, runtime.GOARCH,
		processor(), runtime.NumCPU(), filesystem(b.work), b.loadAtStart)
	for _, p := range b.programs {
		version, _ := exec.Command(p.Path, "--version").CombinedOutput()
		first, _, _ := strings.Cut(strings.TrimSpace(string(version)), "\n")
		fmt.Fprintf(&s, "%s: `%s`. ", p.Name, first)
	}
	fmt.Fprintf(&s, "Three members each, flags `%s`.\n", strings.Join(serverFlags, " "))
	if b.quick {
		s.WriteString("\n**A quick run: it shows that the harness works; its figures mean nothing.**\n")
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
	var oneMinute float64
	_, _ = fmt.Sscan(string(data), &oneMinute)
	return oneMinute
}

// filesystem returns the name of the file system of a path.
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

// diskBytes returns the space of a file on the disk. For a sparse or preallocated file it differs
// from the length.
func diskBytes(path string) int64 {
	var stat unix.Stat_t
	if err := unix.Lstat(path, &stat); err != nil {
		return 0
	}
	return stat.Blocks * 512 // the unit of st_blocks on every file system
}
