package main

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const toolOutput = `
Summary:
  Total:	2.5 secs.
  Slowest:	0.02 secs.
  Requests/sec:	400.0

Response time histogram:
  0.001 [900]	|∎∎∎∎

Latency distribution:
  50% in 0.00061606 secs.
  99% in 2.4e-03 secs.
  99.9% in 0.00325882 secs.

Error distribution:
  [7]	etcdserver: too many requests
  [3]	etcdserver: request timed out
`

func TestParseToolOutput(t *testing.T) {
	figures, err := parseToolOutput(toolOutput, 1000)
	if err != nil {
		t.Fatal(err)
	}
	want := clientFigures{requests: 990, failed: 10, failure: "etcdserver: request timed out", elapsed: 2500 * time.Millisecond,
		p50: 616060, p99: 2400 * time.Microsecond}
	if figures != want {
		t.Fatalf("got %+v\nwant %+v", figures, want)
	}
}

func TestToolOutputWithoutLatenciesIsError(t *testing.T) {
	withoutLatencies, _, _ := strings.Cut(toolOutput, "Latency")
	if _, err := parseToolOutput(withoutLatencies, 1000); err == nil {
		t.Fatal("accepted")
	}
	if _, err := parseToolOutput("panic: something", 1000); err == nil {
		t.Fatal("accepted")
	}
}

func TestMedianOfRatios(t *testing.T) {
	etcd, troupe := values{1, 10, 4}, values{2, 5, 4}
	r := troupe.ratios(etcd)
	if r.median() != 1 || r.min() != 0.5 || r.max() != 2 {
		t.Fatalf("ratios %v", r)
	}
	if m := (values{4, 1, 3, 2}).median(); m != 2.5 {
		t.Fatalf("the median of an even number is %v", m)
	}
	if !math.IsNaN(values{}.median()) {
		t.Fatal("the median without values is a number")
	}
}

func TestThreeDigits(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.012345: "0.0123", 1.2345: "1.23", 123.45: "123", 98765.4: "98765", 0.00001: "0.0000"} {
		if got := threeDigits(v); got != want {
			t.Errorf("%v: %q, want %q", v, got, want)
		}
	}
}

func TestReplaceSection(t *testing.T) {
	path := filepath.Join(t.TempDir(), "benchmarks.md")
	if err := os.WriteFile(path, []byte("# Benchmarks\n\nBy hand.\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct{ name, body string }{{"load", "one\n"}, {"failover", "two\n"}, {"load", "three\n"}} {
		if err := replaceSection(path, step.name, "Title of "+step.name, step.body); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := `# Benchmarks

By hand.

## Title of load

<!-- bench:load:begin -->
three
<!-- bench:load:end -->

## Title of failover

<!-- bench:failover:begin -->
two
<!-- bench:failover:end -->
`
	if string(got) != want {
		t.Fatalf("got\n%s\nwant\n%s", got, want)
	}
}

func TestSelectWorkloadsByPattern(t *testing.T) {
	for choice, want := range map[string]int{"": 21, "put-1": 1, "put-*": 3, "range-*-1000": 2, "put-1,*-of-1M": 7} {
		chosen, err := selectWorkloads(workloads(), choice)
		if err != nil || len(chosen) != want {
			t.Errorf("%q selects %d workloads, want %d (%v)", choice, len(chosen), want, err)
		}
	}
	if _, err := selectWorkloads(workloads(), "put"); err == nil {
		t.Error("an unknown name was accepted")
	}
}

func TestRandomValueIsDeterministic(t *testing.T) {
	first, second, changed := randomValue(1, 1), randomValue(1, 1), randomValue(1, 2)
	if len(first) != valueSize || first != second || first == changed {
		t.Fatal("values do not depend on key and version alone")
	}
}
