package console

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestSyntax reads the commands of all pages and lets bash check their syntax. It runs none of them.
func TestSyntax(t *testing.T) {
	const root = "../../.."
	pages, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil || len(pages) == 0 {
		t.Fatalf("there are no pages in docs: %v", err)
	}
	for _, path := range pages {
		page, err := filepath.Rel(root, path)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range readCommands(t, root, page) {
			check := exec.Command("bash", "-n")
			check.Stdin = strings.NewReader(c.Text + "\n")
			if output, err := check.CombinedOutput(); err != nil || len(output) > 0 {
				t.Errorf("%s:%d: bash cannot read the command; correct it: %v\n%s", c.Page, c.Line, err, output)
			}
		}
	}
}

func readCommands(t *testing.T, root, page string) []Command {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, page))
	if err != nil {
		t.Fatal(err)
	}
	commands, err := Parse(filepath.ToSlash(page), string(text))
	if err != nil {
		t.Fatal(err)
	}
	return commands
}
