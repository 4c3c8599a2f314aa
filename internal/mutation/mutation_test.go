package mutation

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// source is the package in which the tests look for patterns.
const source = `package p

import "errors"

var limit = 10 * 2

type box struct{ a, b, c int }

type Node struct{ term, vote int }

func (n *Node) grant(term int) error {
	if term > n.term { // a comment
		n.term, n.vote = term, 0
	}
	n.vote = n.vote
	n.term = n.vote
	switch err := errors.New("x"); {
	case err != nil && term == 0 || n.vote == 1:
		n.vote = 3
		return err
	}
	return nil
}

func variadic(list ...int) int {
	return variadic(list...) + variadic(1, 2, 3)
}

func literal() box {
	return box{a: 1, b: 2 + 3,
		c: 3}
}

func (b box) clear() {
	if b.a > 0 {
	}
}

func (b box) reset()   {}
func (n *Node) reset() {}
`

// changed returns the lines of the source that the edit removes ("-") and adds ("+").
func changed(t *testing.T, e Edit) (string, error) {
	t.Helper()
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "p"), 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(root, "p", "p.go")
	if err := os.WriteFile(path, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	files, err := apply(root, []Edit{e})
	if err != nil {
		return "", err
	}
	before, after := lines(source), lines(string(files[path]))
	for len(before) > 0 && len(after) > 0 && before[0] == after[0] {
		before, after = before[1:], after[1:]
	}
	for len(before) > 0 && len(after) > 0 && before[len(before)-1] == after[len(after)-1] {
		before, after = before[:len(before)-1], after[:len(after)-1]
	}
	var diff []string
	for _, line := range before {
		diff = append(diff, "-"+line)
	}
	for _, line := range after {
		diff = append(diff, "+"+line)
	}
	return strings.Join(diff, " "), nil
}

func lines(text string) (all []string) {
	for line := range strings.Lines(text) {
		all = append(all, strings.TrimSpace(line))
	}
	return all
}

func TestEditChangesTheMatch(t *testing.T) {
	in := func(function string) Place { return In("p", function) }
	for _, test := range []struct {
		name string
		edit Edit
		want string
	}{
		{"an expression", in("grant").Replace(`term == 0`, `term == 1`),
			"-case err != nil && term == 0 || n.vote == 1: +case err != nil && term == 1 || n.vote == 1:"},
		{"a metavariable keeps what it matched", in("grant").Replace(`_err != nil && _x || _y`, `_y || _x`),
			"-case err != nil && term == 0 || n.vote == 1: +case n.vote == 1 || term == 0:"},
		{"the same metavariable matches the same code", in("grant").Replace(`_a = _a`, `_a = 1`),
			"-n.vote = n.vote +n.vote = 1"},
		{"a metavariable matches a name", in("grant").Replace(`_n._x = _n._x`, `_n._x = 2`),
			"-n.vote = n.vote +n.vote = 2"},
		{"formatting and comments do not count", in("grant").Delete("if _t > _n.term {\n\n_n.term, _n.vote = _t, 0; }"),
			"-if term > n.term { // a comment -n.term, n.vote = term, 0 -} +"},
		{"statements in a case", in("Node.grant").Replace(`_x = 3; return _err`, `return _err`),
			"-n.vote = 3"},
		{"a list of statements", in("grant").Replace(`if _higher { ___body }`, `___body`),
			"-if term > n.term { // a comment -n.term, n.vote = term, 0 -} +n.term, n.vote = term, 0"},
		{"an empty list of statements", in("grant").Replace(`if _higher { _x, _y = _t, 0; ___rest }`, `if _higher { ___rest }`),
			"-if term > n.term { // a comment -n.term, n.vote = term, 0 -} +if term > n.term {  }"},
		{"an empty list that is all of the change", in("clear").Replace(`if _x { ___none }`, `___none`), "-if b.a > 0 { -} +"},
		{"insert before", in("grant").InsertBefore(`_n.vote = 3`, `_n.term++`), "+n.term++"},
		{"insert after", in("grant").InsertAfter(`_n.vote = 3`, `_n.term++`), "+n.term++"},
		{"dots after an argument", in("variadic").Replace(`variadic(_l...)`, `len(_l)`),
			"-return variadic(list...) + variadic(1, 2, 3) +return len(list) + variadic(1, 2, 3)"},
		{"a list of arguments", in("variadic").Replace(`variadic(_1, ___rest)`, `variadic(___rest, _1)`),
			"-return variadic(list...) + variadic(1, 2, 3) +return variadic(list...) + variadic(2, 3, 1)"},
		{"an empty list of elements", in("literal").Replace(`box{___before, a: _a, ___after}`, `box{___before, ___after}`),
			"-return box{a: 1, b: 2 + 3, +return box{ b: 2 + 3,"},
		{"a declaration outside of functions", in("").Replace(`_x * 2`, `_x`), "-var limit = 10 * 2 +var limit = 10"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := changed(t, test.edit)
			if err != nil {
				t.Fatal(err)
			}
			if got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestEditThatDoesNotApplyOnceFails(t *testing.T) {
	for _, test := range []struct {
		name string
		edit Edit
		want string
	}{
		{"no match", In("p", "grant").Delete(`n.vote = 4`), "matches 0 times"},
		{"two matches", In("p", "grant").Replace(`_n.vote = _x`, `_n.vote = 0`), "matches 2 times"},
		{"a repeated metavariable that matches other code", In("p", "literal").Replace(`_a + _a`, `0`), "matches 0 times"},
		{"no dots after an argument", In("p", "variadic").Replace(`variadic(_l)`, `0`), "matches 0 times"},
		{"an expression where a statement is deleted", In("p", "variadic").Delete(`variadic(_l...)`), "matches 0 times"},
		{"a function that does not exist", In("p", "grand").Delete(`_x`), "similar names are Node.grant,"},
		{"a method of another type", In("p", "box.grant").Delete(`_x`), "similar names are Node.grant,"},
		{"methods of two types", In("p", "reset").Delete(`_x`), "write Type.method: box.reset, Node.reset"},
		{"a package that does not exist", In("q", "grant").Delete(`_x`), "read the package"},
		{"a pattern that is not Go", In("p", "grant").Delete(`if {`), "parse an expression or statements"},
		{"a metavariable only in the change", In("p", "grant").Replace(`n.vote = 3`, `_n.vote = 4`), "_n is not in the pattern"},
		{"an operator that binds a part of the change", In("p", "grant").Replace(`_err != nil`, `_err != nil || true`), "use parentheses"},
		{"an operator that binds a part of a metavariable", In("p", "literal").Replace(`box{___x, b: _b, c: _c}`, `box{b: _b * _c}`), "use parentheses"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got, err := changed(t, test.edit); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %q and error %v\nwant an error with %q", got, err, test.want)
			}
		})
	}
}

func TestEditsFollowOneAnother(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	place := In("internal/mutation", "bindings.bind")
	edits := []Edit{
		place.InsertBefore(`_b[_name] = _source`, `name += "x"`),
		place.Replace(`name += _text`, `name = _text`),
	}
	dir := t.TempDir()
	overlay, err := Apply(root, dir, edits...)
	if err != nil {
		t.Fatal(err)
	}
	copied, err := os.ReadFile(filepath.Join(dir, "0_pattern.go"))
	if err != nil || !strings.Contains(string(copied), `name = "x"`) {
		t.Errorf("the copy lacks the second edit (%v)", err)
	}
	description, err := os.ReadFile(overlay)
	if err != nil || !strings.Contains(string(description), filepath.Join(root, "internal/mutation/pattern.go")) {
		t.Errorf("the overlay is %s (%v)", description, err)
	}
	checker, err := NewChecker(root, edits...)
	if err != nil {
		t.Fatal(err)
	}
	if err := checker.Check(edits...); err != nil {
		t.Error(err)
	}
	err = checker.Check(place.InsertBefore(`_b[_name] = _source`, `unknown()`))
	if err == nil || !strings.Contains(err.Error(), "undefined: unknown") {
		t.Errorf("a change that does not compile is reported as %v", err)
	}
}
