package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

const repository = "../.."

// goreleaserConfig has those fields of .goreleaser.yaml that the rest of the repository depends on.
type goreleaserConfig struct {
	ProjectName string `json:"project_name"`
	Builds      []struct {
		Main, Binary string
		LDFlags      []string `json:"ldflags"`
		GOOS         []string `json:"goos"`
		GOARCH       []string `json:"goarch"`
	}
	Archives []struct {
		Files []struct{ Src string }
	}
	Krews []struct {
		Name             string
		Homepage         string
		ShortDescription string `json:"short_description"`
		SkipUpload       bool   `json:"skip_upload"`
	}
	Release struct{ Draft bool }
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func readConfig(t *testing.T) goreleaserConfig {
	t.Helper()
	var c goreleaserConfig
	if err := yaml.Unmarshal([]byte(readFile(t, filepath.Join(repository, ".goreleaser.yaml"))), &c); err != nil {
		t.Fatal(err)
	}
	if len(c.Builds) != 1 || len(c.Archives) != 1 || len(c.Krews) != 1 {
		t.Fatalf("%d builds, %d archives, %d krews; expected is one of each", len(c.Builds), len(c.Archives), len(c.Krews))
	}
	return c
}

// TestConfig: what would make a release wrong is found without building one.
func TestConfig(t *testing.T) {
	c := readConfig(t)
	build, krew := c.Builds[0], c.Krews[0]
	names := []string{c.ProjectName, build.Binary, build.Main, krew.Name, krew.Homepage}
	if diff := cmp.Diff([]string{command, command, "./cmd/" + command, pluginName, projectURL}, names); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	var platforms []string
	for _, goos := range build.GOOS {
		for _, arch := range build.GOARCH {
			platforms = append(platforms, goos+"/"+arch)
		}
	}
	slices.Sort(platforms)
	if diff := cmp.Diff(platformNames, platforms); diff != "" {
		t.Errorf("platforms (-want +got):\n%s", diff)
	}
	if err := checkShortDescription(krew.ShortDescription); err != nil {
		t.Error(err)
	}
	for _, f := range c.Archives[0].Files {
		if _, err := os.Stat(filepath.Join(repository, f.Src)); err != nil {
			t.Errorf("a file of the archives: %v", err)
		}
	}
	if !krew.SkipUpload || !c.Release.Draft {
		t.Error("a release is published before it was verified: set skip_upload and draft")
	}
}

// TestLDFlags: a released program is linked as the one of `make build`.
func TestLDFlags(t *testing.T) {
	makefile := readFile(t, filepath.Join(repository, "Makefile"))
	match := regexp.MustCompile(`(?m)^LDFLAGS := (.*main\.version=)`).FindStringSubmatch(makefile)
	if match == nil {
		t.Fatal("the Makefile has no LDFLAGS with the version; correct it, or this test")
	}
	if diff := cmp.Diff([]string{match[1] + "v{{ .Version }}"}, readConfig(t).Builds[0].LDFlags); diff != "" {
		t.Errorf("ldflags (-want +got):\n%s", diff)
	}
}
