package lint

import (
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// idName matches the names of values that are ids of members or clusters.
var idName = regexp.MustCompile(`^(Get)?((Member|Cluster|Node|Peer|Leader|Target|Own)(ID|Id)|ID|Id|Vote)$|^(id|leader|vote)$`)

// notMemberIDs are folders where such names are something else, or where members are numbered 1, 2,
// 3 for a reader: the simulator, and the etcd API.
var notMemberIDs = []string{"internal/sim", "internal/mutation", "actors/internal", "cmd/troupe-sim", "tests", "kv"}

// idFormats may have an id as a decimal number, with the reason.
var idFormats = map[string]string{
	"member-%d":   "a name and a directory of StartCluster, whose ids are 1, 2, 3",
	"member-%d:0": "its address",
}

// Ids are formatted in one way: raft.FormatID, or %#x in a format. %x and %d look alike for most
// ids.
func TestIDsAreFormattedInOneWay(t *testing.T) {
	files, all := sources(t)
	checked := 0
	for _, s := range all {
		if s.isTest() || withinAny(s.pkg, notMemberIDs) {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			for _, wrong := range wrongIDFormats(call) {
				t.Errorf("%s:%d: %s", s.path, files.Position(call.Pos()).Line, wrong)
			}
			checked++
			return true
		})
	}
	if checked < 1000 {
		t.Errorf("only %d calls were checked", checked)
	}
}

func withinAny(pkg string, folders []string) bool {
	for _, f := range folders {
		if pkg == f || strings.HasPrefix(pkg, f+"/") {
			return true
		}
	}
	return false
}

// wrongIDFormats returns what is wrong with the ids among the arguments of a call.
func wrongIDFormats(call *ast.CallExpr) (wrong []string) {
	selector, ok := call.Fun.(*ast.SelectorExpr)
	if ok && selector.Sel.Name == "Uint64" && len(call.Args) == 2 && isID(call.Args[1]) {
		return []string{"a log line has an id as a decimal number: write Str with raft.FormatID"}
	}
	for i, arg := range call.Args {
		format, ok := arg.(*ast.BasicLit)
		if !ok || format.Kind != token.STRING {
			continue
		}
		text, err := strconv.Unquote(format.Value)
		if err != nil {
			continue
		}
		for k, verb := range verbs(text) {
			asNumber := verb == "%d" || verb == "%x" || verb == "%v"
			if at := i + 1 + k; asNumber && at < len(call.Args) && isID(call.Args[at]) && idFormats[text] == "" {
				wrong = append(wrong, "an id is formatted with "+verb+": write %#x in "+format.Value)
			}
		}
	}
	return wrong
}

// verbs returns the verbs of a format, in the order of their arguments.
func verbs(format string) []string {
	return regexp.MustCompile(`%[-+# 0]*[0-9.]*[a-zA-Z]`).FindAllString(strings.ReplaceAll(format, "%%", ""), -1)
}

// isID reports whether an expression is named like an id.
func isID(e ast.Expr) bool {
	if call, ok := e.(*ast.CallExpr); ok && len(call.Args) == 0 {
		e = call.Fun // a getter
	}
	switch e := e.(type) {
	case *ast.Ident:
		return idName.MatchString(e.Name)
	case *ast.SelectorExpr:
		return idName.MatchString(e.Sel.Name)
	}
	return false
}

func TestWrongIDFormatsAreFound(t *testing.T) {
	for source, want := range map[string]int{
		`fmt.Errorf("member %x, index %d", m.ID, index)`:      1,
		`fmt.Errorf("index %d, member %d", index, m.GetId())`: 1,
		`fmt.Errorf("member %#x, 100%% of %v", m.ID, n.ID())`: 1,
		`fmt.Errorf("member %#x, index %d", m.ID, index)`:     0,
		`fmt.Errorf("member %s", raft.FormatID(m.ID))`:        0,
		`log.Info().Uint64("leader", status.LeaderID)`:        1,
		`log.Info().Uint64("term", status.Term)`:              0,
		`fmt.Sprintf("session %d", e.SessionID)`:              0,
	} {
		if got := wrongIDFormats(parseCall(t, source)); len(got) != want {
			t.Errorf("%s: %v", source, got)
		}
	}
}

func parseCall(t *testing.T, source string) *ast.CallExpr {
	t.Helper()
	e, err := parser.ParseExpr(source)
	if err != nil {
		t.Fatal(err)
	}
	return e.(*ast.CallExpr)
}
