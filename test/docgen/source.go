package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"iter"
	"path"
	"strconv"
	"strings"
)

// goPackage is the parsed source of a package without its tests.
type goPackage struct {
	// Path of the folder in the repository, with slashes.
	Path    string
	FileSet *token.FileSet
	// Files in the order of their names.
	Files []*ast.File
}

// parsePackage parses the Go files of a folder. It has no files if there are none.
func parsePackage(root fs.FS, folder string) (goPackage, error) {
	p := goPackage{Path: folder, FileSet: token.NewFileSet()}
	entries, err := fs.ReadDir(root, folder)
	if err != nil {
		return p, err
	}
	for _, e := range entries {
		if path.Ext(e.Name()) != ".go" || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		name := path.Join(folder, e.Name())
		source, err := fs.ReadFile(root, name)
		if err != nil {
			return p, err
		}
		file, err := parser.ParseFile(p.FileSet, name, source, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return p, err
		}
		p.Files = append(p.Files, file)
	}
	return p, nil
}

// constantSpecs yields the specs of the constants at package level, each with its declaration, in the order of the source.
func (p goPackage) constantSpecs() iter.Seq2[*ast.GenDecl, *ast.ValueSpec] {
	return func(yield func(*ast.GenDecl, *ast.ValueSpec) bool) {
		for _, file := range p.Files {
			for _, decl := range file.Decls {
				if general, ok := decl.(*ast.GenDecl); ok && general.Tok == token.CONST && !yieldSpecs(general, yield) {
					return
				}
			}
		}
	}
}

func yieldSpecs(decl *ast.GenDecl, yield func(*ast.GenDecl, *ast.ValueSpec) bool) (goOn bool) {
	for _, spec := range decl.Specs {
		if !yield(decl, spec.(*ast.ValueSpec)) { // a declaration of constants has no other
			return false
		}
	}
	return true
}

// constants returns the expressions of the constants at package level, by name.
func (p goPackage) constants() map[string]ast.Expr {
	found := map[string]ast.Expr{}
	for _, spec := range p.constantSpecs() {
		for i, name := range spec.Names {
			if i < len(spec.Values) {
				found[name.Name] = spec.Values[i]
			}
		}
	}
	return found
}

// stringValue is the value of a constant string: literals and constants of the package, joined by +.
func (p goPackage) stringValue(constants map[string]ast.Expr, e ast.Expr) (string, error) {
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind == token.STRING {
			return strconv.Unquote(e.Value)
		}
	case *ast.ParenExpr:
		return p.stringValue(constants, e.X)
	case *ast.Ident:
		if value, ok := constants[e.Name]; ok {
			return p.stringValue(constants, value)
		}
	case *ast.BinaryExpr:
		if e.Op == token.ADD {
			left, err := p.stringValue(constants, e.X)
			if err != nil {
				return "", err
			}
			right, err := p.stringValue(constants, e.Y)
			return left + right, err
		}
	}
	return "", fmt.Errorf("%s: this is no constant string of the package; make it one, docgen reads it",
		p.FileSet.Position(e.Pos()))
}
