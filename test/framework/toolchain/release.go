package toolchain

import (
	_ "embed" // for releases.json
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
)

// releasesFile lists the official release archives with their checksums, as published or pinned by the sources that it
// names. An archive without a known checksum is not listed; its programs are built.
//
//go:embed releases.json
var releasesFile []byte

// archive is one file of an official release.
type archive struct {
	// Module and Version are what the archive was built from. It is used only while go.mod requires this version.
	Module  string `json:"module"`
	Version string `json:"version"`
	// Platform as GOOS/GOARCH.
	Platform string `json:"platform"`
	URL      string `json:"url"`
	// SHA256 or SHA512 of the file, in hexadecimal; one of them is set.
	SHA256 string `json:"sha256,omitempty"`
	SHA512 string `json:"sha512,omitempty"`
	// Source says where the checksum was published.
	Source string `json:"source"`
	// Programs maps the name of a program to its path in the archive.
	Programs map[string]string `json:"programs"`
}

func loadArchives(data []byte) ([]archive, error) {
	var all []archive
	if err := json.Unmarshal(data, &all); err != nil {
		return nil, fmt.Errorf("reading releases.json: %w", err)
	}
	return all, nil
}

// usable returns the archives that hold one of the programs for this platform, at the versions in go.mod.
func usable(all []archive, gomod string, programs []string) []archive {
	var found []archive
	for _, a := range all {
		version, err := moduleVersion(gomod, a.Module)
		if err != nil || version != a.Version || a.Platform != platform() {
			continue
		}
		if slices.ContainsFunc(programs, func(name string) bool { return a.Programs[name] != "" }) {
			found = append(found, a)
		}
	}
	return found
}

// platform is this machine's, as archives name it.
func platform() string { return runtime.GOOS + "/" + runtime.GOARCH }
