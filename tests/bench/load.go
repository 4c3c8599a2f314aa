package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"
	"time"

	"github.com/troupe-raft/troupe/tests/procs"
	"golang.org/x/sys/unix"
)

// sample is one run of a workload on one kind of server.
type sample struct {
	clientFigures
	servers procs.Usage // of all members: CPU of the run, memory at its end
	written uint64      // bytes written to the device of the data
}

// results are the samples of a workload by server. The samples with the same index were taken one
// after the other.
type results struct {
	workload workload
	samples  map[string][]sample
}

// sampleTimeout limits one run, in case a server hangs.
const sampleTimeout = 2 * time.Minute

func loadMode(flags *flag.FlagSet) func(context.Context, *bench) (string, error) {
	rounds := flags.Int("rounds", 5, "alternating rounds of each workload (at least 11 for those of one client, unless -quick)")
	choice := flags.String("workloads", "", "patterns of workloads, with commas: put-*,range-linearizable-1 (default: all)")
	scale := flags.Float64("scale", 1, "length of each run, relative to a full run")
	return func(ctx context.Context, b *bench) (string, error) {
		chosen, err := selectWorkloads(workloads(), *choice)
		if err != nil {
			return "", err
		}
		run := loadRun{bench: b, rounds: *rounds, scale: *scale}
		if b.quick {
			run.rounds, run.scale = min(run.rounds, 2), run.scale/10
		}
		measured, err := run.all(ctx, chosen)
		if err != nil {
			return "", err
		}
		return loadReport(b.programs, measured), nil
	}
}

// loadRun holds the parameters of a measurement.
type loadRun struct {
	*bench
	rounds    int
	scale     float64
	generator loadGenerator
}

// all runs the workloads. For each data set it starts a cluster of each server, which run side by
// side, so that the rounds alternate between the servers; the other cluster is idle.
func (r *loadRun) all(ctx context.Context, chosen []workload) ([]results, error) {
	path, err := procs.LoadGenerator(ctx, r.work)
	if err != nil {
		return nil, err
	}
	r.generator = loadGenerator{path: path}
	var measured []results
	for len(chosen) > 0 {
		data, same := chosen[0].data, 1
		for same < len(chosen) && chosen[same].data == data {
			same++
		}
		clusters, err := r.prepareClusters(ctx, data)
		if err != nil {
			return nil, err
		}
		for _, w := range chosen[:same] {
			result, err := r.runAlternating(ctx, w, clusters)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", w.name, err)
			}
			measured = append(measured, result)
		}
		if err := r.endClusters(); err != nil {
			return nil, err
		}
		chosen = chosen[same:]
	}
	return measured, nil
}

func (r *loadRun) prepareClusters(ctx context.Context, data dataSet) (map[string]*filledCluster, error) {
	clusters := make(map[string]*filledCluster)
	for _, program := range r.programs {
		r.progress("starting three of %s, filling them with %v keys", program.Name, data)
		c, err := r.startCluster(ctx, program, "load-"+data.String())
		if err != nil {
			return nil, err
		}
		if clusters[program.Name], err = fill(ctx, c, data); err != nil {
			return nil, fmt.Errorf("%s: %w", program.Name, err)
		}
	}
	for _, c := range clusters {
		if err := awaitIdle(ctx, c.Cluster); err != nil {
			return nil, err
		}
	}
	return clusters, nil
}

// runAlternating takes the samples of a workload. The order of the servers changes with each round.
// A first, shorter run of each server warms up connections, caches and the heap and is dropped.
func (r *loadRun) runAlternating(ctx context.Context, w workload, clusters map[string]*filledCluster) (results, error) {
	rounds := r.rounds
	if !r.quick {
		rounds = max(rounds, w.pairs)
	}
	result := results{workload: w, samples: make(map[string][]sample)}
	for round := -1; round < rounds; round++ {
		for i := range r.programs {
			if round%2 != 0 {
				i = len(r.programs) - 1 - i
			}
			name, scale := r.programs[i].Name, r.scale
			if round < 0 {
				scale /= 5
			}
			s, err := r.sample(ctx, w, clusters[name], scale)
			if err != nil {
				return results{}, fmt.Errorf("%s: %w", name, err)
			}
			if round < 0 {
				continue
			}
			r.progress("%s round %d of %d, %s: %s", w.name, round+1, rounds, name, s)
			result.samples[name] = append(result.samples[name], s)
		}
	}
	return result, nil
}

// sample runs a workload once. The servers do some of its work later (compactions, write-back of
// pages, followers that lag), so their usage is measured until they are idle again.
func (r *loadRun) sample(ctx context.Context, w workload, c *filledCluster, scale float64) (sample, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, sampleTimeout, errors.New("a run took more than two minutes"))
	defer cancel()
	writtenBefore := r.deviceWritten()
	before, err := c.Usage()
	if err != nil {
		return sample{}, err
	}
	figures, err := w.run(ctx, &r.generator, c, scale)
	if err != nil {
		return sample{}, errors.Join(err, context.Cause(ctx))
	}
	if figures.requests == 0 {
		return sample{}, fmt.Errorf("no request succeeded: %s", figures.failure)
	}
	if err := awaitIdle(ctx, c.Cluster); err != nil {
		return sample{}, err
	}
	after, err := c.Usage()
	if err != nil {
		return sample{}, err
	}
	return sample{clientFigures: figures, servers: after.Since(before), written: r.deviceWritten() - writtenBefore}, nil
}

// deviceWritten syncs and returns the number of bytes written to the device, or 0 if the system
// does not count them.
func (b *bench) deviceWritten() uint64 {
	unix.Sync()
	written, _ := procs.DeviceWritten(b.work)
	return written
}

const (
	idleWindow = 300 * time.Millisecond
	// idleShare is the share of one core that all members of an idle cluster stay below.
	idleShare = 0.10
	idleTries = 40
)

// awaitIdle waits until the servers are idle, at most 12 s.
func awaitIdle(ctx context.Context, c *procs.Cluster) error {
	window := time.NewTicker(idleWindow)
	defer window.Stop()
	last, err := c.Usage()
	if err != nil {
		return err
	}
	for range idleTries {
		select {
		case <-window.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		now, err := c.Usage()
		if err != nil {
			return err
		}
		if float64(now.CPU-last.CPU) < idleShare*float64(idleWindow) {
			return nil
		}
		last = now
	}
	return nil
}

// cpuMicros and the methods below are the figures of a sample, each in the unit of the table.
func (s sample) cpuMicros() float64 {
	return float64(s.servers.CPU.Microseconds()) / float64(s.requests)
}
func (s sample) throughput() float64   { return float64(s.requests) / s.elapsed.Seconds() }
func (s sample) p50Millis() float64    { return s.p50.Seconds() * 1000 }
func (s sample) p99Millis() float64    { return s.p99.Seconds() * 1000 }
func (s sample) residentMiB() float64  { return float64(s.servers.ResidentBytes) / (1 << 20) }
func (s sample) writtenBytes() float64 { return float64(s.written) / float64(s.requests) }
func (s sample) clientMicros() float64 {
	return float64(s.clientCPU.Microseconds()) / float64(s.requests)
}

func (s sample) String() string {
	text := fmt.Sprintf("%.0f/s, p50 %s ms, p99 %s ms, %s µs CPU a request", s.throughput(), threeDigits(s.p50Millis()),
		threeDigits(s.p99Millis()), threeDigits(s.cpuMicros()))
	if s.failed > 0 {
		text += fmt.Sprintf(", %d failed: %s", s.failed, s.failure)
	}
	return text
}

func (r results) figures(server string, of func(sample) float64) values {
	f := make(values, 0, len(r.samples[server]))
	for _, s := range r.samples[server] {
		f = append(f, of(s))
	}
	return f
}

// loadReport returns the table of ratios, if there are two servers, and the table of all figures.
func loadReport(programs []procs.Program, measured []results) string {
	var s strings.Builder
	if len(programs) == 2 {
		s.WriteString(ratioTable(programs[0].Name, programs[1].Name, measured))
		s.WriteString("\n")
	}
	figuresOf := table{head: []string{"workload", "server", "CPU µs/request", "requests/s", "p50 ms", "p99 ms", "RSS MiB",
		"written B/request", "client CPU µs", "runs", "failed"}}
	for _, r := range measured {
		for _, p := range programs {
			failed := 0
			for _, sample := range r.samples[p.Name] {
				failed += sample.failed
			}
			cell := func(of func(sample) float64) string { return r.figures(p.Name, of).spread(threeDigits) }
			figuresOf.row(r.workload.name, p.Name, cell(sample.cpuMicros), cell(sample.throughput), cell(sample.p50Millis),
				cell(sample.p99Millis), threeDigits(r.figures(p.Name, sample.residentMiB).median()),
				threeDigits(r.figures(p.Name, sample.writtenBytes).median()), threeDigits(r.figures(p.Name, sample.clientMicros).median()),
				fmt.Sprint(len(r.samples[p.Name])), fmt.Sprint(failed))
		}
	}
	s.WriteString("Medians, in parentheses the lowest and the highest run. CPU and RSS are of the three servers together; bytes written are those that " +
		"all processes of this machine wrote to the device meanwhile.\n\n")
	s.WriteString(figuresOf.String())
	return s.String()
}

func ratioTable(base, other string, measured []results) string {
	t := table{head: []string{"workload", "CPU/request", "throughput", "p50", "p99", "RSS", "written", "pairs"}}
	for _, r := range measured {
		cell := func(of func(sample) float64) string {
			return r.figures(other, of).ratios(r.figures(base, of)).spread(ratio)
		}
		t.row(r.workload.name, cell(sample.cpuMicros), cell(sample.throughput), cell(sample.p50Millis),
			cell(sample.p99Millis), cell(sample.residentMiB), cell(sample.writtenBytes), fmt.Sprint(len(r.samples[base])))
	}
	return fmt.Sprintf("%s by %s: the median of the ratios of alternating pairs, in parentheses the lowest and the highest. "+
		"CPU per request varies least between runs (by about 6 %%), throughput and latency of one client most.\n\n%s", other, base, t.String())
}
