// Command release verifies what `make release` has made, before anybody gets it:
//
//	go run ./test/release -krew KREW dist
//
// from the root of the repository. manifest.go compares the Krew manifest with what is expected of it, archive.go the archives
// with the manifest, and krew.go lets krew install the plugin from each archive. What krew itself refuses is not looked for here.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

const (
	// pluginName is what kubectl and krew call the plugin, command is its program.
	pluginName = "synctarget"
	command    = "kubectl-synctarget"
	projectURL = "https://github.com/synctarget/synctarget"
)

func main() {
	krewPath := flag.String("krew", "", "The program krew.")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdout, krew{path: *krewPath}, flag.Args())
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, k krew, args []string) error {
	if len(args) != 1 || k.path == "" {
		return errors.New("usage: release -krew KREW DIST")
	}
	dist := args[0]
	manifestPath := filepath.Join(dist, "krew", pluginName+".yaml")
	text, err := os.ReadFile(manifestPath)
	if err != nil {
		return err
	}
	m, err := parseManifest(text)
	if err != nil {
		return fmt.Errorf("parsing %s: %w", manifestPath, err)
	}
	if err := errors.Join(m.check(), checkArchives(dist, m), checkChecksums(dist, m)); err != nil {
		return err
	}
	for _, p := range m.Spec.Platforms {
		if err := k.check(ctx, manifestPath, filepath.Join(dist, p.archive()), m.Spec.Version, p); err != nil {
			return err
		}
		fmt.Fprintf(out, "krew installs %s on %s\n", p.archive(), p)
	}
	fmt.Fprintf(out, "%s is right for version %s\n", manifestPath, m.Spec.Version)
	return nil
}
