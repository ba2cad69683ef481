package main

import (
	"go/ast"
	"go/token"
	"regexp"
	"strings"
)

// constant is an exported string constant with a comment.
type constant struct {
	Name, Value string
	// Comment is Markdown; see describe.
	Comment string
	// Group is the comment of the declaration that has several constants; empty for one that stands alone.
	Group string
}

// documentedConstants returns the documented constants of a package in the order of the source.
func documentedConstants(p goPackage) ([]constant, error) {
	expressions := p.constants()
	var found []constant
	for decl, spec := range p.constantSpecs() {
		if !isExportedString(expressions, spec) {
			continue
		}
		c, err := newConstant(p, expressions, decl, spec)
		if err != nil {
			return nil, err
		}
		if c.Comment != "" {
			found = append(found, c)
		}
	}
	return describe(found), nil
}

// newConstant returns what a declaration says of a constant.
func newConstant(p goPackage, expressions map[string]ast.Expr, decl *ast.GenDecl, spec *ast.ValueSpec) (constant, error) {
	value, err := p.stringValue(expressions, spec.Values[0])
	c := constant{Name: spec.Names[0].Name, Value: value, Comment: decl.Doc.Text()}
	if decl.Lparen.IsValid() {
		c.Comment, c.Group = spec.Doc.Text(), strings.TrimSpace(decl.Doc.Text())
	}
	return c, err
}

func isExportedString(expressions map[string]ast.Expr, spec *ast.ValueSpec) bool {
	return len(spec.Names) == 1 && spec.Names[0].IsExported() &&
		len(spec.Values) == 1 && isString(expressions, spec.Values[0])
}

// isString is true for an expression that begins with a string: the other constants have numbers.
func isString(expressions map[string]ast.Expr, e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.BasicLit:
		return e.Kind == token.STRING
	case *ast.BinaryExpr:
		return isString(expressions, e.X)
	case *ast.Ident:
		value, ok := expressions[e.Name]
		return ok && isString(expressions, value)
	}
	return false
}

var identifier = regexp.MustCompile(`\b[A-Z]\w*\b`)

// describe makes Markdown of the comments. A user of the API knows the values of the constants and not their names: the
// names are replaced, and "Name: text" becomes "Text".
func describe(constants []constant) []constant {
	values := map[string]string{}
	for _, c := range constants {
		values[c.Name] = c.Value
	}
	var described []constant
	for _, c := range constants {
		comment := c.Comment
		if rest, ok := strings.CutPrefix(comment, c.Name+":"); ok {
			rest = strings.TrimSpace(rest)
			comment = strings.ToUpper(rest[:min(1, len(rest))]) + rest[min(1, len(rest)):]
		}
		c.Comment = text(identifier.ReplaceAllStringFunc(comment, func(name string) string {
			if value, ok := values[name]; ok && name != value {
				return code(value)
			}
			return name
		}))
		described = append(described, c)
	}
	return described
}
