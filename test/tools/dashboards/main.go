// Dashboards writes the dashboards of Grafana, fleet.json and target.json, into a folder. It also draws them, with the data of a
// Prometheus, as pictures for the documentation.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

func main() {
	output := flag.String("output", "", "Folder to write the dashboards into.")
	url := flag.String("prometheus", "", "URL of a Prometheus; the dashboards are drawn with its data.")
	pictures := flag.String("png", "", "Folder to write the pictures into.")
	last := flag.Duration("last", 5*time.Minute, "From how long ago on data is drawn.")
	flag.Parse()
	err := error(nil)
	if *url != "" {
		err = drawPictures(*url, *pictures, *last)
	} else {
		err = writeFiles(*output)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "dashboards:", err)
		os.Exit(1)
	}
}

// drawPictures draws the dashboards, and says for which panels there is no data.
func drawPictures(url, folder string, last time.Duration) error {
	empty, err := drawAll(context.Background(), url, folder, last)
	for _, title := range empty {
		fmt.Println("no data:", title)
	}
	return err
}

// writeFiles writes the dashboards for Grafana.
func writeFiles(output string) error {
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
