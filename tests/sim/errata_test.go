package sim_test

import (
	"flag"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/troupe-raft/troupe/internal/sim"
)

var (
	updateErrata = flag.Bool("sim.errata", false, "write the stories into docs/errata.md")
	erratumRow   = regexp.MustCompile(`^\| E(\d+) \|`)
	ofStories    = regexp.MustCompile(`(; stories [^|]*)? \|\n$`)
)

// The rows of docs/errata.md end with the stories that show an erratum to be met.
func TestTheTableOfErrataNamesTheirStories(t *testing.T) {
	const path = "../../docs/errata.md"
	is, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	stories := map[string]string{}
	for _, sc := range sim.Scenarios() {
		for _, n := range sc.Errata {
			stories[strconv.Itoa(n)] += ", `" + sc.Name + "`"
		}
	}
	var want strings.Builder
	for line := range strings.Lines(string(is)) {
		if row := erratumRow.FindStringSubmatch(line); row != nil {
			told := ""
			if all := stories[row[1]]; all != "" {
				told = "; stories " + all[2:]
			}
			line = ofStories.ReplaceAllLiteralString(line, told+" |\n")
		}
		want.WriteString(line)
	}
	switch {
	case want.String() == string(is):
	case *updateErrata:
		if err := os.WriteFile(path, []byte(want.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Error("docs/errata.md does not name the stories as they are: run this test with -sim.errata")
	}
}
