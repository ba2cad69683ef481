// Dashboards writes the dashboards of Grafana, fleet.json and target.json, into a folder.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	output := flag.String("output", "", "Folder to write the dashboards into.")
	flag.Parse()
	if err := run(*output); err != nil {
		fmt.Fprintln(os.Stderr, "dashboards:", err)
		os.Exit(1)
	}
}

func run(output string) error {
	if err := os.MkdirAll(output, 0o755); err != nil {
		return err
	}
	for name, b := range boards() {
		content, err := grafanaJSON(b)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(output, name+".json"), append(content, '\n'), 0o644); err != nil {
			return err
		}
	}
	return nil
}
