// Docgen writes the reference pages of the documentation from the sources, so that they cannot differ from them:
//
//	go run ./test/docgen
//
// from the root of the repository. api.go, flags.go, metrics.go and rights.go each make one page: they read their sources, and
// a pure function makes Markdown of what was read.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	if err := run("docs/reference"); err != nil {
		fmt.Fprintln(os.Stderr, "docgen:", err)
		os.Exit(1)
	}
}

// run writes the pages to the folder.
func run(folder string) error {
	pages := []struct {
		file string
		make func() (string, error)
	}{
		{"api.md", readAPI},
		{"flags.md", readFlags},
		{"metrics.md", readMetrics},
		{"rights.md", readRights},
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	for _, p := range pages {
		text, err := p.make()
		if err != nil {
			return fmt.Errorf("making %s: %w", p.file, err)
		}
		if err := os.WriteFile(filepath.Join(folder, p.file), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
