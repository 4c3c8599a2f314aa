package lint

import (
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"

	"github.com/troupe-raft/troupe/internal/sim/scenario"
)

var update = flag.Bool("update", false, "rewrite what the test compares with: the table of docs/errata.md, testdata/publicapi.txt")

const (
	errataFile   = "../../docs/errata.md"
	protocolFile = "../../docs/protocol.md"
	tableBegin   = "<!-- tests and scenarios: begin -->\n"
	tableEnd     = "<!-- tests and scenarios: end -->\n"
)

var (
	erratumTest    = regexp.MustCompile(`^TestE(\d+)(?:[^\d]|$)`)
	secondErratum  = regexp.MustCompile(`^TestE\d+E(\d+)(?:[^\d]|$)`)
	erratumHeading = regexp.MustCompile(`(?m)^### E(\d+) `)
	erratumCited   = regexp.MustCompile(`\bE(\d+)\b`)
	ruleDefined    = regexp.MustCompile(`(?m)^- \*\*P(\d+)\*\* `)
	ruleWhere      = regexp.MustCompile(`(?m)^\| P(\d+) `)
	ruleCited      = regexp.MustCompile(`\bP(\d+)\b`)
	ruleOfProtocol = regexp.MustCompile(`docs/protocol\.md P(\d+)`)
	docCited       = regexp.MustCompile(`(?:^|[^\w/])(docs/[a-z0-9/-]+\.md)\b`)
	sectionCited   = regexp.MustCompile(`docs/protocol\.md[,:]? \(?"([^"]+)"`)
)

func readDoc(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func numbers(pattern *regexp.Regexp, text string) []string {
	var all []string
	for _, m := range pattern.FindAllStringSubmatch(text, -1) {
		all = append(all, m[1])
	}
	return all
}

// The last table of docs/errata.md names, for every erratum, the packages whose tests carry its
// number and the scenarios that play it.
func TestErrataTableIsCurrent(t *testing.T) {
	text := readDoc(t, errataFile)
	before, rest, ok := strings.Cut(text, tableBegin)
	_, after, closed := strings.Cut(rest, tableEnd)
	if !ok || !closed {
		t.Fatal("docs/errata.md has no table of tests and scenarios")
	}
	table := errataTable(newDocIndex(t), numbers(erratumHeading, text))
	for _, section := range strings.Split(before, "\n### ")[1:] {
		number, _, _ := strings.Cut(section, " ")
		if strings.Contains(section, "**Met.**") && strings.Contains(table, "| "+number+" | – | – |") {
			t.Errorf("docs/errata.md says that %s is met, and no test or scenario shows it", number)
		}
	}
	want := before + tableBegin + table + tableEnd + after
	switch {
	case want == text:
	case *update:
		if err := os.WriteFile(errataFile, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Error("the table of docs/errata.md is out of date: run go test ./tests/lint -run Errata -update")
	}
}

func errataTable(index *docIndex, errata []string) string {
	packages, scenarios := map[string]names{}, map[string][]string{}
	for dir, tests := range index.tests {
		for test := range tests {
			for _, pattern := range []*regexp.Regexp{erratumTest, secondErratum} {
				if m := pattern.FindStringSubmatch(test); m != nil {
					if packages[m[1]] == nil {
						packages[m[1]] = names{}
					}
					packages[m[1]][dir] = true
				}
			}
		}
	}
	for _, s := range scenario.Scenarios() {
		for _, n := range s.Errata {
			scenarios[strconv.Itoa(n)] = append(scenarios[strconv.Itoa(n)], s.Name)
		}
	}
	var table strings.Builder
	table.WriteString("| erratum | packages with tests of that number | scenarios |\n|---|---|---|\n")
	for _, n := range errata {
		var dirs []string
		for dir := range packages[n] {
			dirs = append(dirs, strings.Replace(dir, ".", "troupe", 1))
		}
		table.WriteString("| E" + n + " | " + codeList(dirs) + " | " + codeList(scenarios[n]) + " |\n")
	}
	return table.String()
}

func codeList(all []string) string {
	if len(all) == 0 {
		return "–"
	}
	sort.Strings(all)
	return "`" + strings.Join(all, "`, `") + "`"
}

// Rules of docs/protocol.md are numbered without gaps, in the text and in the table of where they
// are enforced.
func TestProtocolRulesAreNumbered(t *testing.T) {
	text := readDoc(t, protocolFile)
	defined, where := numbers(ruleDefined, text), numbers(ruleWhere, text)
	if len(defined) == 0 || !slices.Equal(defined, where) {
		t.Errorf("docs/protocol.md defines the rules %v, and its table has %v", defined, where)
	}
	seen := names{}
	for _, n := range defined {
		if seen[n] {
			t.Errorf("docs/protocol.md defines P%s twice", n)
		}
		seen[n] = true
	}
	for i := range defined {
		if !seen[strconv.Itoa(i+1)] {
			t.Errorf("docs/protocol.md lacks P%d", i+1)
		}
	}
}

// What code and documents cite of docs/ is there: files, errata, and rules and sections of the
// protocol.
func TestCitedErrataAndRulesExist(t *testing.T) {
	c := newCited(t)
	err := filepath.WalkDir("../..", func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			if entry != nil && (entry.Name() == ".git" || entry.Name() == "testdata") {
				return filepath.SkipDir
			}
			return err
		}
		extension := filepath.Ext(file)
		if extension != ".go" && extension != ".md" && extension != ".proto" || strings.HasSuffix(file, ".pb.go") {
			return nil
		}
		rules := ruleOfProtocol
		if extension == ".md" {
			rules = ruleCited
		}
		for i, line := range strings.Split(readDoc(t, file), "\n") {
			c.check(t, file, i+1, line, rules)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// cited is what may be cited of docs/errata.md and docs/protocol.md.
type cited struct{ errata, rules, sections names }

func newCited(t *testing.T) cited {
	t.Helper()
	protocol := readDoc(t, protocolFile)
	c := cited{names{}, names{}, names{}}
	for _, n := range numbers(erratumHeading, readDoc(t, errataFile)) {
		c.errata[n] = true
	}
	for _, n := range numbers(ruleDefined, protocol) {
		c.rules[n] = true
	}
	for _, line := range strings.Split(protocol, "\n") {
		if title, ok := strings.CutPrefix(line, "## "); ok {
			c.sections[title] = true
		}
	}
	return c
}

func (c cited) check(t *testing.T, file string, at int, line string, rules *regexp.Regexp) {
	t.Helper()
	checkNumbers(t, file, at, "erratum E", erratumCited, line, c.errata)
	checkNumbers(t, file, at, "rule P", rules, line, c.rules)
	for _, m := range docCited.FindAllStringSubmatch(line, -1) {
		if _, err := os.Stat(filepath.Join("../..", m[1])); err != nil {
			t.Errorf("%s:%d: no file %s", file, at, m[1])
		}
	}
	for _, m := range sectionCited.FindAllStringSubmatch(line, -1) {
		if !c.sections[m[1]] {
			t.Errorf("%s:%d: docs/protocol.md has no section %q", file, at, m[1])
		}
	}
}

func checkNumbers(t *testing.T, file string, line int, what string, pattern *regexp.Regexp, text string, known names) {
	t.Helper()
	for _, n := range numbers(pattern, text) {
		if !known[n] {
			t.Errorf("%s:%d: no %s%s", file, line, what, n)
		}
	}
}
