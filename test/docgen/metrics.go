package main

import (
	"cmp"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
)

const (
	programController = "synctarget-controller"
	programSyncer     = "syncer"
)

// metric is a metric that a program serves. All its texts are plain.
type metric struct {
	Program, Name, Type string
	Labels              []string
	Help                string
}

// readMetrics makes the page of the metrics from the source of the programs.
func readMetrics() (string, error) {
	root := os.DirFS(".")
	folders, err := goFolders(root, "cmd", "pkg")
	if err != nil {
		return "", err
	}
	var metrics []metric
	for _, folder := range folders {
		p, err := parsePackage(root, folder)
		if err != nil {
			return "", err
		}
		found, err := findMetrics(p)
		if err != nil {
			return "", err
		}
		metrics = append(metrics, found...)
	}
	return metricsPage(metrics)
}

// goFolders returns the folders and those below them, without the ones that Go ignores.
func goFolders(root fs.FS, tops ...string) ([]string, error) {
	var folders []string
	for _, top := range tops {
		err := fs.WalkDir(root, top, func(name string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case !entry.IsDir():
				return nil
			case path.Base(name) == "testdata":
				return fs.SkipDir
			}
			folders = append(folders, name)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return folders, nil
}

// programOf is the program that a package belongs to.
func programOf(folder string) string {
	for _, top := range []string{"pkg/syncer", "cmd/syncer"} {
		if folder == top || strings.HasPrefix(folder, top+"/") {
			return programSyncer
		}
	}
	return programController
}

func metricsPage(metrics []metric) (string, error) {
	controller, syncer := metricRows(metrics, programController), metricRows(metrics, programSyncer)
	if len(controller) == 0 || len(syncer) == 0 {
		return "", fmt.Errorf("a program has no metrics that docgen can read; see findMetrics")
	}
	head := []string{"metric", "type", "labels", "meaning"}
	return newPage(
		"# Metrics",
		"Both programs serve their metrics in the Prometheus format at `/metrics`. [Operate](../operate.md#metrics) says which\n"+
			"ones to watch, and how to read them.",
		"Besides their own metrics, both serve those of Go and of the Kubernetes client: `go_*`, `process_*` and\n"+
			"`rest_client_*`. The controller also serves those of its work queues: `controller_runtime_*` and `workqueue_*`.",
		"## "+programController, table(head, controller),
		"## "+programSyncer, table(head, syncer),
	), nil
}

func metricRows(metrics []metric, program string) [][]string {
	sorted := slices.SortedFunc(slices.Values(metrics), func(a, b metric) int { return cmp.Compare(a.Name, b.Name) })
	var rows [][]string
	for _, m := range sorted {
		if m.Program == program {
			rows = append(rows, []string{code(m.Name), m.Type, codes(m.Labels), text(m.Help)})
		}
	}
	return rows
}
