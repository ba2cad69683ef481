//go:build docs

package console

import (
	"os"
	"path/filepath"
	"testing"
)

// TestPages runs the commands of the pages in the environment of `make demo`. The pages follow one another, as for a
// reader: each leaves the environment as the next expects it.
func TestPages(t *testing.T) {
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	requireDemo(t, root)
	for _, name := range []string{"quickstart.md", "run-workloads.md", "place-workloads.md"} {
		commands := readCommands(t, root, filepath.Join("docs", name))
		if len(commands) == 0 {
			t.Fatalf("docs/%s has no block marked `console run`", name)
		}
		passed := t.Run(name, func(t *testing.T) {
			if err := RunPage(root, commands, Timeout, t.Logf); err != nil {
				t.Fatal(err)
			}
		})
		if !passed {
			t.Fatal("the pages after this one were not run, since it may have left the demo broken: " +
				"`make down` and `make demo` before the next attempt")
		}
	}
}

// requireDemo fails unless the demo has been started and not been taken down.
func requireDemo(t *testing.T, root string) {
	t.Helper()
	dir := os.Getenv("STATE_DIR")
	if dir == "" {
		dir = ".local"
	}
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(root, dir)
	}
	if _, err := os.Stat(filepath.Join(dir, "kcp.kubeconfig")); err != nil {
		t.Fatalf("run `make demo` first: %v", err)
	}
}
