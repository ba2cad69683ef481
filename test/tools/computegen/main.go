package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/kcp-dev/sdk/apis/apis/v1alpha1"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "computegen:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("computegen", flag.ContinueOnError)
	pinned := flags.String("kubernetes", "", "folder of the Go module that pins k8s.io/kubernetes")
	output := flags.String("output", "", "folder to write to")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *pinned == "" || *output == "" {
		return errors.New("--kubernetes and --output are required")
	}
	source, err := kubernetes(*pinned)
	if err != nil {
		return err
	}
	var schemas []*v1alpha1.APIResourceSchema
	for _, r := range resources() {
		schema, err := generate(source, r)
		if err != nil {
			return fmt.Errorf("generating %s: %w", r.Plural, err)
		}
		schemas = append(schemas, schema)
	}
	return write(*output, schemas)
}

// module is the part we need of what `go mod download -json` prints.
type module struct {
	Version, Dir string
}

// kubernetes finds, and downloads if need be, the source of Kubernetes in the version that the module in dir pins.
func kubernetes(dir string) (module, error) {
	cmd := exec.Command("go", "mod", "download", "-json", "k8s.io/kubernetes")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return module{}, fmt.Errorf("downloading k8s.io/kubernetes: %w", err)
	}
	var m module
	return m, json.Unmarshal(out, &m)
}

// document is the path of the OpenAPI document of a group's version v1.
func (m module) document(group string) string {
	name := "apis__" + group + "__v1_openapi.json"
	if group == "" {
		name = "api__v1_openapi.json"
	}
	return filepath.Join(m.Dir, "api", "openapi-spec", "v3", name)
}
