package main

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"sigs.k8s.io/yaml"
)

// maxShortDescription is the limit in the guide for developers of krew plugins.
const maxShortDescription = 50

// platformNames are what the plugin is released for, in order.
var platformNames = []string{"darwin/amd64", "darwin/arm64", "linux/amd64", "linux/arm64", "windows/amd64", "windows/arm64"}

// manifest is a Krew manifest, with the fields that ours has.
type manifest struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Metadata   metadata `json:"metadata"`
	Spec       spec     `json:"spec"`
}

type metadata struct {
	Name string `json:"name"`
}

type spec struct {
	Version          string     `json:"version"`
	Homepage         string     `json:"homepage"`
	ShortDescription string     `json:"shortDescription"`
	Description      string     `json:"description"`
	Caveats          string     `json:"caveats"`
	Platforms        []platform `json:"platforms"`
}

// platform is one archive, and where it is installed.
type platform struct {
	URI      string   `json:"uri"`
	SHA256   string   `json:"sha256"`
	Bin      string   `json:"bin"`
	Selector selector `json:"selector"`
}

type selector struct {
	MatchLabels matchLabels `json:"matchLabels"`
}

type matchLabels struct {
	OS   string `json:"os"`
	Arch string `json:"arch"`
}

// parseManifest reads a manifest. A field that it does not know is an error.
func parseManifest(text []byte) (manifest, error) {
	var m manifest
	err := yaml.UnmarshalStrict(text, &m)
	return m, err
}

// check returns everything that is wrong with the fields of the manifest.
func (m manifest) check() error {
	errs := []error{
		equal("metadata.name", m.Metadata.Name, pluginName),
		equal("spec.homepage", m.Spec.Homepage, projectURL),
		checkShortDescription(m.Spec.ShortDescription),
	}
	if m.Spec.Description == "" {
		errs = append(errs, errors.New("spec.description is empty"))
	}
	var names []string
	for _, p := range m.Spec.Platforms {
		names = append(names, p.String())
		errs = append(errs, p.check(m.Spec.Version))
	}
	slices.Sort(names)
	errs = append(errs, equal("spec.platforms", strings.Join(names, " "), strings.Join(platformNames, " ")))
	return errors.Join(errs...)
}

func checkShortDescription(text string) error {
	switch n := utf8.RuneCountInString(text); {
	case n > maxShortDescription:
		return fmt.Errorf("the short description %q has %d characters, krew asks for at most %d", text, n, maxShortDescription)
	case strings.HasSuffix(text, "."):
		return fmt.Errorf("the short description %q ends with a period", text)
	}
	return nil
}

// String is the platform as Go writes it.
func (p platform) String() string {
	return p.Selector.MatchLabels.OS + "/" + p.Selector.MatchLabels.Arch
}

// archive is the name of the platform's archive.
func (p platform) archive() string { return path.Base(p.URI) }

func (p platform) check(version string) error {
	labels := p.Selector.MatchLabels
	bin, extension := command, ".tar.gz"
	if labels.OS == "windows" {
		bin, extension = command+".exe", ".zip"
	}
	archive := fmt.Sprintf("%s_%s_%s_%s%s", command, version, labels.OS, labels.Arch, extension)
	return errors.Join(
		equal("bin of "+p.String(), p.Bin, bin),
		equal("uri of "+p.String(), p.URI, projectURL+"/releases/download/"+version+"/"+archive),
	)
}

func equal(what, got, want string) error {
	if got != want {
		return fmt.Errorf("%s is %q, expected %q", what, got, want)
	}
	return nil
}
