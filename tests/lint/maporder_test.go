package lint

import (
	"go/ast"
	"go/token"
	"go/types"
	"regexp"
	"strings"
)

// In deterministic code the order of a range over a map must have no effect. That holds if the loop
//   - only appends to slices that are sorted after it in the same function;
//   - only does what has the same effect in any order: counts, sums, minima, maxima, deletions,
//     entries of a map at the loop's own key, or a return of constants;
//   - has a comment that says why: `// order does not matter: …`, at the loop or on the line above.

var orderMark = regexp.MustCompile(`order does not matter: \S`)

// markedLoops returns the loops of a file that have such a comment.
func markedLoops(file *ast.File) map[ast.Node]bool {
	marked := map[ast.Node]bool{}
	var ends []token.Pos
	for _, group := range file.Comments {
		for _, c := range group.List {
			if orderMark.MatchString(c.Text) {
				ends = append(ends, group.End())
			}
		}
	}
	if len(ends) == 0 {
		return marked
	}
	ast.Inspect(file, func(n ast.Node) bool {
		loop, ok := n.(*ast.RangeStmt)
		if !ok {
			return true
		}
		for _, end := range ends {
			// Directly above the loop, or after its opening brace.
			above := end < loop.Pos() && loop.Pos()-end < 40
			behind := end > loop.Body.Lbrace && (len(loop.Body.List) == 0 || end < loop.Body.List[0].Pos())
			if above || behind {
				marked[loop] = true
			}
		}
		return true
	})
	return marked
}

// checkRange reports a range over a map whose order may have an effect.
func (w *visitor) checkRange(n *ast.RangeStmt) {
	of := w.info.Types[n.X].Type
	if of == nil {
		return
	}
	switch of.Underlying().(type) {
	case *types.Chan:
		w.reportWait(n, "a receive from a channel")
		return
	case *types.Map:
	default:
		return
	}
	if w.marked[n] || isBlank(n.Key) && isBlank(n.Value) || w.collectedAndSorted(n) {
		return
	}
	b := loopBody{visitor: w, key: w.objectOf(n.Key)}
	if !b.orderFree(n.Body.List) || b.changes && b.returns {
		w.report(n, "a range over a map whose order may have an effect")
	}
}

func isBlank(e ast.Expr) bool {
	id, ok := e.(*ast.Ident)
	return e == nil || ok && id.Name == "_"
}

func (w *visitor) objectOf(e ast.Expr) types.Object {
	if id, ok := e.(*ast.Ident); ok {
		if o := w.info.Defs[id]; o != nil {
			return o
		}
		return w.info.Uses[id]
	}
	return nil
}

// collectedAndSorted reports whether the loop only appends to slices that are sorted after it in
// the same function.
func (w *visitor) collectedAndSorted(n *ast.RangeStmt) bool {
	var after []ast.Stmt
	for _, above := range w.ancestors {
		if _, inner := above.(*ast.FuncLit); inner {
			after = nil
		}
		if block, ok := above.(*ast.BlockStmt); ok {
			for _, s := range block.List {
				if s.Pos() >= n.End() {
					after = append(after, s)
				}
			}
		}
	}
	sorted := map[string]bool{}
	for _, s := range after {
		ast.Inspect(s, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok && len(call.Args) > 0 {
				if f, ok := w.callee(call); ok && f.Pkg() != nil && (f.Pkg().Path() == "sort" || f.Pkg().Path() == "slices" && strings.HasPrefix(f.Name(), "Sort")) {
					sorted[types.ExprString(call.Args[0])] = true
				}
			}
			return true
		})
	}
	return len(sorted) > 0 && w.onlyAppendsTo(n.Body.List, sorted)
}

func (w *visitor) onlyAppendsTo(list []ast.Stmt, sorted map[string]bool) bool {
	for _, s := range list {
		switch s := s.(type) {
		case *ast.AssignStmt:
			call, isCall := s.Rhs[0].(*ast.CallExpr)
			if len(s.Lhs) != 1 || !isCall || types.ExprString(call.Fun) != "append" || !sorted[types.ExprString(s.Lhs[0])] {
				return false
			}
		case *ast.IfStmt:
			if s.Else != nil || s.Init != nil || !w.isPure(s.Cond) || !w.onlyAppendsTo(s.Body.List, sorted) {
				return false
			}
		case *ast.BranchStmt:
			if s.Tok != token.CONTINUE {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// loopBody is the body of a loop over a map. If it both changes something and returns early, the
// order decides how much is changed.
type loopBody struct {
	*visitor
	key              types.Object
	changes, returns bool
}

// orderFree reports whether statements have the same effect in any order of the keys.
func (b *loopBody) orderFree(list []ast.Stmt) bool {
	for _, s := range list {
		if !b.orderFreeStatement(s) {
			return false
		}
	}
	return true
}

func (b *loopBody) orderFreeStatement(s ast.Stmt) bool {
	switch s := s.(type) {
	case *ast.IncDecStmt:
		b.changes = true
		return b.isPure(s.X)
	case *ast.AssignStmt:
		return b.orderFreeAssignment(s)
	case *ast.ExprStmt:
		call, ok := s.X.(*ast.CallExpr)
		b.changes = true
		return ok && types.ExprString(call.Fun) == "delete" && len(call.Args) == 2 && b.isKey(call.Args[1])
	case *ast.IfStmt:
		if s.Init != nil && !b.orderFreeStatement(s.Init) || !b.isPure(s.Cond) || !b.orderFree(s.Body.List) {
			return false
		}
		return s.Else == nil || b.orderFreeStatement(s.Else)
	case *ast.BlockStmt:
		return b.orderFree(s.List)
	case *ast.BranchStmt:
		return s.Tok == token.CONTINUE && s.Label == nil
	case *ast.ReturnStmt:
		b.returns = true
		for _, e := range s.Results {
			if v := b.info.Types[e]; v.Value == nil && !v.IsNil() {
				return false
			}
		}
		return true
	}
	return false
}

// orderFreeAssignment accepts a new variable, an entry at the loop's own key, a sum of integers, a
// minimum and a maximum.
func (b *loopBody) orderFreeAssignment(s *ast.AssignStmt) bool {
	for _, e := range s.Rhs {
		if !b.isPure(e) {
			return false
		}
	}
	if s.Tok == token.DEFINE {
		return true
	}
	b.changes = true
	if len(s.Lhs) != 1 {
		return false
	}
	to := s.Lhs[0]
	switch s.Tok {
	case token.ADD_ASSIGN, token.SUB_ASSIGN, token.MUL_ASSIGN, token.OR_ASSIGN, token.AND_ASSIGN, token.XOR_ASSIGN:
		basic, ok := b.info.Types[to].Type.Underlying().(*types.Basic)
		return ok && basic.Info()&types.IsInteger != 0
	case token.ASSIGN:
		if index, ok := to.(*ast.IndexExpr); ok {
			_, isMap := b.info.Types[index.X].Type.Underlying().(*types.Map)
			return isMap && b.isKey(index.Index)
		}
		call, ok := s.Rhs[0].(*ast.CallExpr)
		if !ok || types.ExprString(call.Fun) != "min" && types.ExprString(call.Fun) != "max" {
			return false
		}
		for _, e := range call.Args {
			if types.ExprString(e) == types.ExprString(to) {
				return true
			}
		}
	}
	return false
}

func (b *loopBody) isKey(e ast.Expr) bool { return b.key != nil && b.objectOf(e) == b.key }

// isPure reports whether an expression calls nothing but built-in functions and conversions.
func (w *visitor) isPure(e ast.Expr) bool {
	ok := true
	ast.Inspect(e, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			if v := w.info.Types[n.Fun]; !v.IsBuiltin() && !v.IsType() {
				ok = false
			}
		case *ast.FuncLit:
			ok = false
		case *ast.UnaryExpr:
			ok = ok && n.Op != token.ARROW
		}
		return ok
	})
	return ok
}
