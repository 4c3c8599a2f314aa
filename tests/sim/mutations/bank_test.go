package mutations

import (
	"bytes"
	"cmp"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/troupe-raft/troupe/internal/mutation"
	"github.com/troupe-raft/troupe/internal/sim/checker"
	"github.com/troupe-raft/troupe/internal/sim/fault"
	"github.com/troupe-raft/troupe/internal/sim/scenario"
	"github.com/troupe-raft/troupe/kv/simulation"
)

var (
	update = flag.Bool("update", false, "rewrite the table in docs/testing.md")
	only   = flag.String("only", "", "hunt only the mutations whose names match this expression")
)

// workers is how many mutations are hunted at once.
const workers = 2

// caught is the result of a hunt.
type caught struct {
	by    string // invariant or test; empty: the mutation survived
	text  string
	seeds int
	took  time.Duration
	err   error
}

func TestBankFitsTheSource(t *testing.T) {
	var all []mutation.Edit
	for _, m := range Bank() {
		all = append(all, m.Edits...)
	}
	checker, err := mutation.NewChecker(repository(t), all...)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, m := range Bank() {
		if err := errors.Join(checker.Check(m.Edits...), checkHunt(&m, repository(t))); err != nil {
			t.Errorf("%s: %v", m.Name, err)
		}
		if names[m.Name] || m.Breaks == "" {
			t.Errorf("%q: the name is there twice, or Breaks is empty", m.Name)
		}
		names[m.Name] = true
	}
}

// checkHunt checks that everything that the hunt and Caught name exists.
func checkHunt(m *Mutation, root string) (err error) {
	switch {
	case m.Hunt.Test != "":
		return checkTest(filepath.Join(root, m.Hunt.Package), m.Hunt.Test)
	case m.Hunt.Scenario != "":
		_, err = scenario.Find(m.Hunt.Scenario, simulation.Scenarios()...)
	default:
		_, err = fault.FindProfile(m.Hunt.Profile)
	}
	if len(m.Caught) == 0 {
		err = errors.Join(err, errors.New("Caught is empty"))
	}
	for _, name := range m.Caught {
		if !slices.ContainsFunc(checker.Invariants, func(i checker.Invariant) bool { return i.Name == name }) {
			err = errors.Join(err, fmt.Errorf("Caught names no invariant: %q", name))
		}
	}
	return err
}

// checkTest checks that the package in dir has the test.
func checkTest(dir, test string) error {
	paths, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	for _, path := range paths {
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if bytes.Contains(source, []byte("\nfunc "+test+"(")) {
			return nil
		}
	}
	return cmp.Or(err, fmt.Errorf("%s has no test %s", dir, test))
}

func TestEveryMutationIsCaught(t *testing.T) {
	if testing.Short() {
		t.Skip("hunting mutations takes minutes; run without -short")
	}
	root := repository(t)
	bank, err := chosen(Bank(), *only)
	if err == nil && *update && *only != "" {
		err = errors.New("-update rewrites the whole table and does not go with -only")
	}
	if err != nil {
		t.Fatal(err)
	}
	h, err := newHunter(root, t.TempDir(), bank)
	if err != nil {
		t.Fatal(err)
	}
	results := make([]caught, len(bank))
	var wait sync.WaitGroup
	next := make(chan int)
	for range workers {
		wait.Go(func() {
			for i := range next {
				began := time.Now()
				results[i] = h.hunt(i, t.TempDir())
				results[i].took = time.Since(began)
				report(t, &bank[i], &results[i])
			}
		})
	}
	for i := range bank {
		next <- i
	}
	close(next)
	wait.Wait()
	t.Logf("\n%s", table(bank, results))
	if *update && !t.Failed() {
		rewrite(t, filepath.Join(root, "docs/testing.md"), table(bank, results))
	}
}

// chosen returns the mutations whose names match. That none matches is an error: a test that hunts
// nothing would pass.
func chosen(bank []Mutation, only string) ([]Mutation, error) {
	matches, err := regexp.Compile(only)
	if err != nil {
		return nil, fmt.Errorf("-only %q is no regular expression: %w", only, err)
	}
	some := slices.DeleteFunc(slices.Clone(bank), func(m Mutation) bool { return !matches.MatchString(m.Name) })
	if len(some) > 0 {
		return some, nil
	}
	names := make([]string, len(bank))
	for i, m := range bank {
		names[i] = m.Name
	}
	return nil, fmt.Errorf("-only %q matches none of the %d mutations; their names are\n  %s",
		only, len(bank), strings.Join(names, "\n  "))
}

func TestOnlyThatMatchesNothingFails(t *testing.T) {
	for only, want := range map[string]int{"": len(Bank()), "^second vote in a term$": 1, "nothing of that name": 0, "(": 0} {
		some, err := chosen(Bank(), only)
		if len(some) != want || (err == nil) != (want > 0) {
			t.Errorf("-only %q: %d mutations, %v", only, len(some), err)
		}
	}
	if _, err := chosen(Bank(), "nothing of that name"); err == nil || !strings.Contains(err.Error(), "second vote in a term") {
		t.Errorf("the error does not list the mutations: %v", err)
	}
}

func report(t *testing.T, m *Mutation, c *caught) {
	switch {
	case c.err != nil:
		t.Errorf("%s: %v", m.Name, c.err)
	case c.by == "":
		t.Errorf("%s survived %d seeds of %v: %s", m.Name, c.seeds, m.Hunt, m.Breaks)
	case m.Hunt.Test == "" && !slices.Contains(m.Caught, c.by):
		t.Errorf("%s was caught for a wrong reason, in %d seeds, by %q, not %q: %s", m.Name, c.seeds, c.by, m.Caught, c.text)
	default:
		t.Logf("%-50s %3d seeds %6v  %s: %.160s", m.Name, c.seeds, c.took.Round(100*time.Millisecond), c.by, c.text)
	}
}

// firstFailure returns the first message of a failed test.
func firstFailure(out string) string {
	for line := range strings.Lines(out) {
		if strings.Contains(line, ".go:") {
			return strings.TrimSpace(line)
		}
	}
	return ""
}

func repository(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../../..")
	if err == nil {
		_, err = os.Stat(filepath.Join(root, "go.mod"))
	}
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// table returns the table of docs/testing.md.
func table(bank []Mutation, results []caught) string {
	var b strings.Builder
	b.WriteString("| bug | what is wrong | hunted in | caught by | seeds |\n|---|---|---|---|---|\n")
	for i, m := range bank {
		by, seeds := results[i].by, "–"
		if m.Hunt.Test == "" {
			seeds = strconv.Itoa(results[i].seeds)
		} else {
			by = "the test"
		}
		fmt.Fprintf(&b, "| %s | %s | %v | %s | %s |\n", m.Name, m.Breaks, m.Hunt, by, seeds)
	}
	return b.String()
}

const (
	tableBegins = "<!-- mutations: begin -->\n"
	tableEnds   = "<!-- mutations: end -->"
)

func rewrite(t *testing.T, path, table string) {
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, begins := strings.Cut(string(text), tableBegins)
	_, after, ends := strings.Cut(rest, tableEnds)
	if !begins || !ends {
		t.Fatalf("%s has no %q and %q", path, tableBegins, tableEnds)
	}
	if err := os.WriteFile(path, []byte(before+tableBegins+table+tableEnds+after), 0o644); err != nil {
		t.Fatal(err)
	}
}
