package toolchain

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/synctarget/synctarget/test/framework/progress"
)

// Mode says where programs come from.
type Mode string

const (
	// Auto downloads what can be downloaded and builds the rest.
	Auto Mode = "auto"
	// Download fails if a release with a known checksum cannot be downloaded. What has none is built.
	Download Mode = "download"
	// Build builds everything from source.
	Build Mode = "build"
)

// ParseMode reads a mode; empty is Auto.
func ParseMode(text string) (Mode, error) {
	switch mode := Mode(text); mode {
	case "":
		return Auto, nil
	case Auto, Download, Build:
		return mode, nil
	}
	return "", fmt.Errorf("TOOLS=%q is none of auto, download, build", text)
}

// Toolchain obtains programs.
type Toolchain struct {
	// tools is the folder of the Go modules, cache that of the programs.
	tools, cache string
	mode         Mode
	report       *progress.Reporter
	archives     []archive
	downloads    *downloader
	// build builds one step of a module into a folder.
	build func(ctx context.Context, module, dir, reported string, s source, st step) error
	// available has a result for each program that was started or provided.
	available map[string]*result
	running   sync.WaitGroup
}

// result is a program's path, or why there is none, once done is closed.
type result struct {
	done chan struct{}
	path string
	err  error
}

// New returns a Toolchain for the repository's modules and the user's cache.
func New(repo string, mode Mode, report *progress.Reporter) (*Toolchain, error) {
	cache, err := CacheDir()
	if err != nil {
		return nil, err
	}
	archives, err := loadArchives(releasesFile)
	if err != nil {
		return nil, err
	}
	return &Toolchain{
		tools: filepath.Join(repo, "test", "tools"), cache: cache, mode: mode, report: report,
		archives: archives, downloads: newDownloader(), build: goBuild, available: map[string]*result{},
	}, nil
}

// Plan says, in one line per source of these programs, what would be downloaded or built and about how long that takes.
func (t *Toolchain) Plan(programs ...string) ([]string, error) {
	var lines []string
	for _, s := range sources() {
		wanted := intersection(s.names(), programs)
		if len(wanted) == 0 {
			continue
		}
		gomod := filepath.Join(t.tools, s.folder, "go.mod")
		_, reported, err := s.versions(gomod)
		if err != nil {
			return nil, err
		}
		absent := missing(filepath.Join(t.cache, "tools", s.folder+"-"+reported), wanted)
		name := s.folder + " " + reported
		switch {
		case len(absent) == 0:
			lines = append(lines, name+" is in "+t.cache+" already")
		case t.mode != Build && len(usable(t.archives, gomod, absent)) > 0:
			lines = append(lines, name+" is downloaded, in a minute or two; without a network it is built, in "+s.about())
		default:
			lines = append(lines, name+" is built from source, once, in "+s.about())
		}
	}
	return lines, nil
}

// Start begins to obtain programs and returns at once. It is called once, before Path.
func (t *Toolchain) Start(ctx context.Context, programs ...string) {
	for _, name := range programs {
		t.available[name] = &result{done: make(chan struct{})}
	}
	for _, s := range sources() {
		wanted := intersection(s.names(), programs)
		if len(wanted) == 0 {
			continue
		}
		t.running.Go(func() {
			err := t.obtain(ctx, s, wanted)
			for _, name := range wanted { // those that are available already stay so
				t.available[name].finish("", err)
			}
		})
	}
}

// Wait waits until nothing is downloaded or built any more.
func (t *Toolchain) Wait() { t.running.Wait() }

// intersection returns the elements of all that are among some.
func intersection(all, some []string) []string {
	return slices.DeleteFunc(all, func(name string) bool { return !slices.Contains(some, name) })
}

func (r *result) finish(path string, err error) {
	select {
	case <-r.done:
	default:
		r.path, r.err = path, err
		close(r.done)
	}
}

// Provide names a program that is there already.
func (t *Toolchain) Provide(name, path string) {
	r := &result{done: make(chan struct{})}
	r.finish(path, nil)
	t.available[name] = r
}

// Path waits until a program is there and returns its absolute path.
func (t *Toolchain) Path(ctx context.Context, name string) (string, error) {
	r := t.available[name]
	if r == nil {
		return "", fmt.Errorf("program %q was not asked for", name)
	}
	select {
	case <-r.done:
		return r.path, r.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// obtain downloads or builds the wanted programs of a source that are not in the cache.
func (t *Toolchain) obtain(ctx context.Context, s source, wanted []string) error {
	gomod := filepath.Join(t.tools, s.folder, "go.mod")
	_, reported, err := s.versions(gomod)
	if err != nil {
		return err
	}
	dir := filepath.Join(t.cache, "tools", s.folder+"-"+reported)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	unlock, err := lock(filepath.Join(dir, ".lock")) // another process may be building the same
	if err != nil {
		return err
	}
	defer unlock()
	if t.publish(dir, wanted) {
		return nil
	}
	if t.mode != Build {
		if err := t.download(ctx, gomod, dir, wanted); err != nil {
			return err
		}
	}
	for _, st := range s.steps {
		st.programs = slices.DeleteFunc(st.programs, func(p program) bool {
			return !slices.Contains(missing(dir, wanted), p.name)
		})
		if len(st.programs) == 0 {
			continue
		}
		done := t.report.During("building %s %s (once)", strings.Join(st.names(), ", "), reported)
		err := t.build(ctx, filepath.Dir(gomod), dir, reported, s, st)
		done()
		if err != nil {
			return err
		}
		t.publish(dir, wanted)
	}
	return nil
}

// publish makes known which of the wanted programs are in the folder, and returns whether all are.
func (t *Toolchain) publish(dir string, wanted []string) (all bool) {
	absent := missing(dir, wanted)
	for _, name := range wanted {
		if !slices.Contains(absent, name) {
			t.available[name].finish(filepath.Join(dir, name), nil)
		}
	}
	return len(absent) == 0
}

// download downloads the archives that hold missing programs. In mode Auto a failure is reported, and the programs stay
// missing.
func (t *Toolchain) download(ctx context.Context, gomod, dir string, wanted []string) error {
	for _, a := range usable(t.archives, gomod, missing(dir, wanted)) {
		done := t.report.During("downloading %s", a.URL)
		file, err := t.downloads.fetch(ctx, a, filepath.Join(t.cache, "downloads"))
		if err == nil {
			err = errors.Join(a.extract(file, dir), os.Remove(file))
		}
		done()
		switch {
		case err == nil:
			t.publish(dir, wanted)
		case t.mode == Download || ctx.Err() != nil:
			return fmt.Errorf("%w; build from source instead with TOOLS=build", err)
		default:
			t.report.Say("building from source, as this does not work: %v", err)
			return nil
		}
	}
	return nil
}

// missing returns the programs that are not in the folder.
func missing(dir string, programs []string) []string {
	var names []string
	for _, name := range programs {
		if _, err := os.Stat(filepath.Join(dir, name)); errors.Is(err, fs.ErrNotExist) {
			names = append(names, name)
		}
	}
	return names
}

func lock(file string) (unlock func(), err error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() { _ = f.Close() }, nil
}
