package docs

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
)

// constant is a string constant of the API package.
type constant struct {
	Name, Value string
	Line        int
}

// reasonConstants returns the constants of a Go file whose names begin with Reason.
func reasonConstants(name string, source []byte) ([]constant, error) {
	fileSet := token.NewFileSet()
	file, err := parser.ParseFile(fileSet, name, source, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	var found []constant
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Names) != 1 || len(spec.Values) != 1 || !strings.HasPrefix(spec.Names[0].Name, "Reason") {
			return true
		}
		if literal, ok := spec.Values[0].(*ast.BasicLit); ok && literal.Kind == token.STRING {
			value, _ := strconv.Unquote(literal.Value) // the parser has accepted it
			line := fileSet.Position(spec.Pos()).Line
			found = append(found, constant{Name: spec.Names[0].Name, Value: value, Line: line})
		}
		return true
	})
	return found, nil
}

// checkReasons verifies that the page explains each reason: that its value stands there in backquotes.
func checkReasons(source string, reasons []constant, p page) []problem {
	var problems []problem
	for _, r := range reasons {
		if !strings.Contains(p.Text, "`"+r.Value+"`") {
			problems = append(problems, problem{Path: source, Line: r.Line,
				Text: fmt.Sprintf("`%s` (%s) is not in %s; add what it means and what to do about it", r.Value, r.Name, p.Path)})
		}
	}
	return problems
}
