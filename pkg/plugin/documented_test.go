package plugin

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDocumented: the page shows the outputs as the tests have them, word for word.
func TestDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/kubectl-plugin.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"explain-holds", "explain-pending", "explain-conflict", "tree", "get-credentials", "version-rollout"} {
		golden, err := os.ReadFile(filepath.Join("testdata", name+".golden"))
		if err != nil {
			t.Fatal(err)
		}
		command, rest, _ := strings.Cut(string(golden), "--- stderr\n")
		stderr, rest, _ := strings.Cut(rest, "--- stdout\n")
		stdout, _, _ := strings.Cut(rest, "--- exit code")
		if block := "```console\n" + command + stdout + stderr + "```\n"; !strings.Contains(string(page), block) {
			t.Errorf("docs/kubectl-plugin.md does not show %s.golden:\n%s", name, block)
		}
	}
}
