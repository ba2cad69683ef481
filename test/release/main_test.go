package main

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

const (
	linuxArchive   = "kubectl-synctarget_v1.2.3_linux_amd64.tar.gz"
	windowsArchive = "kubectl-synctarget_v1.2.3_windows_amd64.zip"
)

// fakeKrew is a krew that installs a program for every platform. The program prints a version.
func fakeKrew(t *testing.T, version string) krew {
	return scriptedKrew(t, `
bin=$KREW_ROOT/bin
mkdir -p "$bin"
printf '#!/bin/sh\necho Client version: `+version+`\n' >"$bin/kubectl-synctarget"
chmod +x "$bin/kubectl-synctarget"
cp "$bin/kubectl-synctarget" "$bin/kubectl-synctarget.exe"
echo "$KREW_OS/$KREW_ARCH $* (KREW_NO_UPGRADE_CHECK=$KREW_NO_UPGRADE_CHECK)" >>"$0.log"
`)
}

func scriptedKrew(t *testing.T, script string) krew {
	t.Helper()
	k := krew{path: filepath.Join(t.TempDir(), "krew")}
	writeFile(t, k.path, []byte("#!/bin/sh\nset -e\n"+script), 0o755)
	return k
}

func TestRun(t *testing.T) {
	cases := map[string]struct {
		reason string
		change func(*testDist)
		// keepSums is for changes of what newTestDist has computed from the archives.
		keepSums bool
		// more is appended to the manifest.
		more string
		// want is the error, or a part of it.
		want string
	}{
		"Right": {reason: "Nothing is wrong."},
		"UnknownField": {
			reason: "krew ignores a field that it does not know, for example because of a typing error.",
			more:   "extra: true\n",
			want:   `unknown field "extra"`,
		},
		"Name": {
			reason: "The name of the file is the name of the plugin.",
			change: func(d *testDist) { d.manifest.Metadata.Name = "sync-target" },
			want:   `metadata.name is "sync-target", expected "synctarget"`,
		},
		"Homepage": {
			reason: "The manifest leads to the project.",
			change: func(d *testDist) { d.manifest.Spec.Homepage = "https://example.com" },
			want:   `spec.homepage is "https://example.com"`,
		},
		"NoDescription": {
			reason: "kubectl krew info shows it.",
			change: func(d *testDist) { d.manifest.Spec.Description = "" },
			want:   "spec.description is empty",
		},
		"ShortDescription": {
			reason: "Reviewers of krew-index refuse a long one.",
			change: func(d *testDist) { d.manifest.Spec.ShortDescription = strings.Repeat("é", 51) },
			want:   "has 51 characters, krew asks for at most 50",
		},
		"ShortEnough": {
			reason: "Characters count, not bytes.",
			change: func(d *testDist) { d.manifest.Spec.ShortDescription = strings.Repeat("é", 50) },
		},
		"Period": {
			reason: "Reviewers of krew-index refuse a period at the end.",
			change: func(d *testDist) { d.manifest.Spec.ShortDescription = "Register clusters." },
			want:   `the short description "Register clusters." ends with a period`,
		},
		"PlatformMissing": {
			reason: "Each platform has an archive.",
			change: func(d *testDist) { d.manifest.Spec.Platforms = d.manifest.Spec.Platforms[1:] },
			want:   `spec.platforms is "darwin/arm64 linux/amd64 linux/arm64 windows/amd64 windows/arm64", expected "darwin/amd64 `,
		},
		"PlatformTwice": {
			reason: "krew would take either.",
			change: func(d *testDist) {
				d.manifest.Spec.Platforms = append(d.manifest.Spec.Platforms, d.manifest.Spec.Platforms[0])
			},
			want: `spec.platforms is "darwin/amd64 darwin/amd64 `,
		},
		"Bin": {
			reason: "Windows runs only what ends with .exe.",
			change: func(d *testDist) { d.manifest.Spec.Platforms[4].Bin = command },
			want:   `bin of windows/amd64 is "kubectl-synctarget", expected "kubectl-synctarget.exe"`,
		},
		"URI": {
			reason: "The archives of this version are downloaded, not those of another one.",
			change: func(d *testDist) {
				uri := &d.manifest.Spec.Platforms[2].URI
				*uri = strings.Replace(*uri, "download/v1.2.3", "download/v1.2.2", 1)
			},
			want: "uri of linux/amd64 is",
		},
		"SHA256": {
			reason:   "krew refuses an archive with another checksum.",
			change:   func(d *testDist) { d.manifest.Spec.Platforms[2].SHA256 = strings.Repeat("0", 64) },
			keepSums: true,
			want:     `sha256 of linux/amd64 is "0000`,
		},
		"NoArchive": {
			reason:   "The manifest names an archive that was not made.",
			change:   func(d *testDist) { delete(d.files, linuxArchive) },
			keepSums: true,
			want:     "no such file or directory",
		},
		"FileMissing": {
			reason: "krew asks for a license in each archive.",
			change: func(d *testDist) { d.files[linuxArchive] = d.files[linuxArchive][1:] },
			want:   linuxArchive + " lacks LICENSE",
		},
		"FileMissingInZip": {
			reason: "The same in a zip archive.",
			change: func(d *testDist) { d.files[windowsArchive] = d.files[windowsArchive][:2] },
			want:   windowsArchive + " lacks kubectl-synctarget.exe",
		},
		"FileAdded": {
			reason: "What nobody expects is found before it is released.",
			change: func(d *testDist) {
				d.files[linuxArchive] = append(d.files[linuxArchive], testFile{name: "kubeconfig", mode: 0o600, modified: commitTime})
			},
			want: linuxArchive + " contains kubeconfig, which is not expected",
		},
		"Mode": {
			reason: "kubectl runs only what is executable.",
			change: func(d *testDist) { d.files[linuxArchive][1].mode = 0o644 },
			want:   "kubectl_complete-synctarget in " + linuxArchive + " has mode -rw-r--r--, expected -rwxr-xr-x",
		},
		"Owner": {
			reason: "The archive depends on who made it.",
			change: func(d *testDist) { d.files[linuxArchive][0].uid = 1000 },
			want:   "owner of LICENSE in " + linuxArchive + ` is "1000:0", expected "0:0"`,
		},
		"Time": {
			reason: "The archive depends on when it was made.",
			change: func(d *testDist) { d.files[linuxArchive][0].modified = commitTime.Add(time.Hour) },
			want:   "the files of the archives have 2 times of modification",
		},
		"Checksums": {
			reason: "The file of checksums has those of the archives.",
			change: func(d *testDist) {
				d.checksums[0] = strings.Repeat("0", 64) + "  " + d.manifest.Spec.Platforms[0].archive()
			},
			keepSums: true,
			want:     "kubectl-synctarget_v1.2.3_checksums.txt is",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			d := newTestDist(t)
			if tc.change != nil {
				tc.change(d)
			}
			if !tc.keepSums {
				d.sum(t)
			}
			err := run(t.Context(), t.Output(), fakeKrew(t, testVersion), []string{d.write(t, tc.more)})
			expectError(t, tc.reason, err, tc.want)
		})
	}
}

// expectError fails unless the error contains a text, or unless there is none and no text.
func expectError(t *testing.T, reason string, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("%s\ngot error: %v", reason, err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("%s\ngot error: %v\nwant: %s", reason, err, want)
	}
}

// TestTimeZone: the times in a zip archive are those of the commit in every time zone.
func TestTimeZone(t *testing.T) {
	d := newTestDist(t)
	for i := range d.files[windowsArchive] {
		d.files[windowsArchive][i].modified = commitTime.In(time.FixedZone("east", 7200))
	}
	d.sum(t)
	if err := run(t.Context(), t.Output(), fakeKrew(t, testVersion), []string{d.write(t, "")}); err != nil {
		t.Error(err)
	}
}

// TestArchiveUnreadable: an archive that is not one is named.
func TestArchiveUnreadable(t *testing.T) {
	for _, name := range []string{linuxArchive, windowsArchive} {
		dist := newTestDist(t).write(t, "")
		writeFile(t, filepath.Join(dist, name), []byte("<html>"), 0o644)
		err := run(t.Context(), t.Output(), fakeKrew(t, testVersion), []string{dist})
		expectError(t, "an archive is a page of a proxy", err, "reading "+name)
	}
}

func TestUsage(t *testing.T) {
	dist := newTestDist(t).write(t, "")
	expectError(t, "no folder", run(t.Context(), t.Output(), fakeKrew(t, testVersion), nil), "usage:")
	expectError(t, "no krew", run(t.Context(), t.Output(), krew{}, []string{dist}), "usage:")
	expectError(t, "no manifest", run(t.Context(), t.Output(), fakeKrew(t, testVersion), []string{t.TempDir()}), "synctarget.yaml")
}

// TestKrew: krew is run once for each platform, and its answer counts. What it installed is removed.
func TestKrew(t *testing.T) {
	dist := newTestDist(t).write(t, "")
	temporary := t.TempDir()
	t.Setenv("TMPDIR", temporary)
	k := fakeKrew(t, testVersion)
	if err := run(t.Context(), t.Output(), k, []string{dist}); err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	for _, name := range platformNames {
		goos, arch, _ := strings.Cut(name, "/")
		extension := ".tar.gz"
		if goos == "windows" {
			extension = ".zip"
		}
		want.WriteString(name + " install --manifest=" + filepath.Join(dist, "krew", "synctarget.yaml") +
			" --archive=" + filepath.Join(dist, "kubectl-synctarget_v1.2.3_"+goos+"_"+arch+extension) + " (KREW_NO_UPGRADE_CHECK=1)\n")
	}
	if got := readFile(t, k.path+".log"); got != want.String() {
		t.Errorf("krew was run with\n%swant\n%s", got, want.String())
	}

	refusing := scriptedKrew(t, "echo not a plugin >&2\nexit 1\n")
	expectError(t, "krew refuses", run(t.Context(), t.Output(), refusing, []string{dist}), "exit status 1\nnot a plugin")
	err := run(t.Context(), t.Output(), scriptedKrew(t, "true\n"), []string{dist})
	expectError(t, "krew installs nothing", err, "krew has not installed "+command+" of ")
	left, err := os.ReadDir(temporary)
	if err != nil || len(left) > 0 {
		t.Errorf("%d temporary folders are left, %v", len(left), err)
	}
}

// TestVersion: the program that can run here has the version of the manifest.
func TestVersion(t *testing.T) {
	if runtime.GOOS != "linux" && runtime.GOOS != "darwin" {
		t.Skip("none of the programs is for this platform, or the fake one is a shell script")
	}
	dist := newTestDist(t).write(t, "")
	err := run(t.Context(), t.Output(), fakeKrew(t, "dev"), []string{dist})
	expectError(t, "another version", err, `version --client is "Client version: dev", expected "Client version: v1.2.3"`)
}
