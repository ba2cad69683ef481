package toolchain

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/synctarget/synctarget/test/framework/progress"
)

// builds records the programs that were built, and fails those of a step that holds the program named by fail.
type builds struct {
	sync.Mutex
	names []string
	fail  string
}

func (b *builds) build(_ context.Context, _, dir, _ string, _ source, st step) error {
	b.Lock()
	defer b.Unlock()
	if slices.Contains(st.names(), b.fail) {
		return errors.New("it does not compile")
	}
	for _, name := range st.names() {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o755); err != nil {
			return err
		}
	}
	b.names = append(b.names, st.names()...)
	return nil
}

func (b *builds) sorted() []string {
	b.Lock()
	defer b.Unlock()
	return slices.Sorted(slices.Values(b.names))
}

// newToolchain serves the archive of CoreDNS from url, and builds with b.
func newToolchain(t *testing.T, mode Mode, url, sum string, b *builds, log *bytes.Buffer) *Toolchain {
	t.Helper()
	a := archive{
		Module: "github.com/coredns/coredns", Version: "v1.14.4", Platform: platform(), URL: url, SHA256: sum,
		Programs: map[string]string{CoreDNS: "bin/tool"},
	}
	tools := &Toolchain{
		tools: toolsDir, cache: t.TempDir(), mode: mode, report: progress.New(log),
		archives: []archive{a}, downloads: impatient(), build: b.build, available: map[string]*result{},
	}
	t.Cleanup(tools.Wait) // before the cache is removed
	return tools
}

// TestToolchain: what is downloaded, what is built, and what is said, by mode and by what the network does.
func TestToolchain(t *testing.T) {
	data, sum := release(t)
	good := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(data) }))
	bad := httptest.NewServer(http.NotFoundHandler())
	unwanted := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("request for %s", r.URL)
	}))
	t.Cleanup(unwanted.Close)
	t.Cleanup(good.Close)
	t.Cleanup(bad.Close)
	for name, tc := range map[string]struct {
		mode  Mode
		url   string
		built []string
		said  string
		err   string
	}{
		"auto downloads what has a checksum and builds the rest":  {mode: Auto, url: good.URL, built: []string{KCP}, said: "downloading"},
		"auto builds what cannot be downloaded":                   {mode: Auto, url: bad.URL, built: []string{CoreDNS, KCP}, said: "building from source, as this does not work"},
		"download fails where the download fails":                 {mode: Download, url: bad.URL, built: []string{KCP}, err: "TOOLS=build"},
		"download builds what has no checksum":                    {mode: Download, url: good.URL, built: []string{KCP}, said: "downloading"},
		"build builds everything, and does not touch the network": {mode: Build, url: unwanted.URL, built: []string{CoreDNS, KCP}, said: "building coredns"},
	} {
		t.Run(name, func(t *testing.T) {
			var b builds
			var log bytes.Buffer
			tools := newToolchain(t, tc.mode, tc.url+"/a.tar.gz", sum, &b, &log)
			tools.Start(t.Context(), KCP, CoreDNS)
			if path, err := tools.Path(t.Context(), KCP); err != nil || !strings.HasSuffix(path, "/kcp-v1.35.1+kcp-v0.31.2/kcp") {
				t.Errorf("kcp: %q, %v", path, err)
			}
			path, err := tools.Path(t.Context(), CoreDNS)
			if tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)) || tc.err == "" && err != nil {
				t.Errorf("coredns: %q, %v, want error %q", path, err, tc.err)
			}
			if got := b.sorted(); !slices.Equal(got, tc.built) {
				t.Errorf("built %q, want %q", got, tc.built)
			}
			if !strings.Contains(log.String(), tc.said) {
				t.Errorf("said\n%s\nwant %q", log.String(), tc.said)
			}
		})
	}
}

// TestProgramsInOrder: a program is available as soon as its step is done, and stays so when a later step fails.
func TestProgramsInOrder(t *testing.T) {
	b := builds{fail: "kubelet"}
	tools := newToolchain(t, Build, "", "", &b, &bytes.Buffer{})
	tools.Start(t.Context(), NodePrograms()...)
	if _, err := tools.Path(t.Context(), "kube-apiserver"); err != nil {
		t.Errorf("kube-apiserver: %v", err)
	}
	if _, err := tools.Path(t.Context(), "kube-proxy"); err == nil || err.Error() != "it does not compile" {
		t.Errorf("kube-proxy: %v, want the error of its step", err)
	}
	if _, err := tools.Path(t.Context(), Kubectl); err == nil || !strings.Contains(err.Error(), "was not asked for") {
		t.Errorf("kubectl: %v", err)
	}
	if slices.Contains(b.sorted(), Kubectl) {
		t.Error("kubectl was built though nobody asked for it")
	}
}

// TestCached: what the cache holds is neither downloaded nor built.
func TestCached(t *testing.T) {
	var b builds
	tools := newToolchain(t, Build, "", "", &b, &bytes.Buffer{})
	tools.Start(t.Context(), CoreDNS)
	first, err := tools.Path(t.Context(), CoreDNS)
	if err != nil {
		t.Fatal(err)
	}
	again := newToolchain(t, Download, "http://127.0.0.1:0/", "", &b, &bytes.Buffer{})
	again.cache = tools.cache
	again.Start(t.Context(), CoreDNS)
	if path, err := again.Path(t.Context(), CoreDNS); err != nil || path != first || len(b.sorted()) != 1 {
		t.Errorf("%q, %v after builds of %q", path, err, b.sorted())
	}
}

// TestProvide: a program that the user has is neither built nor part of the plan.
func TestProvide(t *testing.T) {
	var b builds
	tools := newToolchain(t, Build, "", "", &b, &bytes.Buffer{})
	tools.Provide(KCP, "/usr/bin/kcp")
	plan, err := tools.Plan(CoreDNS)
	if err != nil || len(plan) != 1 || !strings.HasPrefix(plan[0], "coredns v1.14.4 is built from source") {
		t.Errorf("plan %q, %v", plan, err)
	}
	tools.Start(t.Context(), CoreDNS)
	tools.Wait()
	if path, err := tools.Path(t.Context(), KCP); path != "/usr/bin/kcp" || err != nil {
		t.Errorf("kcp: %q, %v", path, err)
	}
	if got := b.sorted(); !slices.Equal(got, []string{CoreDNS}) {
		t.Errorf("built %q", got)
	}
}

// TestFindKubectl: the environment's own link in the PATH stands for what it links to.
func TestFindKubectl(t *testing.T) {
	own, other := filepath.Join(t.TempDir(), Kubectl), filepath.Join(t.TempDir(), Kubectl)
	script := "#!/bin/sh\necho '{\"clientVersion\": {\"major\": \"1\", \"minor\": \"34\"}}'\n"
	if err := errors.Join(os.WriteFile(other, []byte(script), 0o755), os.Symlink(other, own)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", filepath.Dir(own)+":"+os.Getenv("PATH"))
	if got := FindKubectl(t.Context(), own); got != other {
		t.Errorf("FindKubectl() = %q, want %q", got, other)
	}
	t.Setenv("PATH", t.TempDir())
	if got := FindKubectl(t.Context(), own); got != "" {
		t.Errorf("FindKubectl() = %q without any in the PATH", got)
	}
}

func TestParseMode(t *testing.T) {
	for text, want := range map[string]Mode{"": Auto, "auto": Auto, "download": Download, "build": Build, "maybe": ""} {
		if got, err := ParseMode(text); got != want || (err == nil) != (want != "") {
			t.Errorf("ParseMode(%q) = %q, %v", text, got, err)
		}
	}
}

func TestKubectlFits(t *testing.T) {
	for out, want := range map[string]bool{
		`{"clientVersion": {"major": "1", "minor": "33"}}`:  false,
		`{"clientVersion": {"major": "1", "minor": "34"}}`:  true,
		`{"clientVersion": {"major": "1", "minor": "35+"}}`: true,
		`{"clientVersion": {"major": "1", "minor": "36"}}`:  false,
		`Client Version: v1.34.0`:                           false,
	} {
		if got := kubectlFits([]byte(out)); got != want {
			t.Errorf("kubectlFits(%s) = %t, want %t", out, got, want)
		}
	}
}
