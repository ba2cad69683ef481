package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
)

// programFlag is a flag of a program. All its texts are plain.
type programFlag struct {
	Name, Type, Default, Help string
}

// readFlags makes the page of the flags from what the programs print for --help: main packages cannot be imported.
func readFlags() (string, error) {
	controller, err := helpOf("./cmd/synctarget-controller")
	if err != nil {
		return "", err
	}
	syncer, err := helpOf("./cmd/syncer")
	if err != nil {
		return "", err
	}
	return flagsPage(parseHelp(controller), parseHelp(syncer))
}

// helpOf runs a program of this repository with --help. The program is built without cgo and without a version, so that
// the text is the same on every machine.
func helpOf(program string) (string, error) {
	cmd := exec.Command("go", "run", program, "--help")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("running %s --help: %w\n%s", program, err, output.String())
	}
	return output.String(), nil
}

var (
	// flagLine is what pflag prints: the name, for some the type, and after three blanks at least the help.
	flagLine = regexp.MustCompile(`^ +(?:-\w, |    )--([\w-]+)(?: (\S+))?   +(\S.*)$`)
	// defaultSuffix ends the help of a flag whose default is not the zero value of its type.
	defaultSuffix = regexp.MustCompile(`^(.*\S) \(default (.*)\)$`)
	continuedLine = regexp.MustCompile(`^ {8,}(\S.*)$`)
)

// parseHelp returns the flags in a help text of pflag, which sorts them by name. Other lines are ignored.
func parseHelp(help string) []programFlag {
	var found []programFlag
	for line := range strings.SplitSeq(help, "\n") {
		if match := flagLine.FindStringSubmatch(line); match != nil {
			found = append(found, programFlag{Name: match[1], Type: match[2], Help: match[3]})
		} else if match := continuedLine.FindStringSubmatch(line); match != nil && len(found) > 0 {
			found[len(found)-1].Help += " " + match[1]
		}
	}
	for i := range found {
		found[i] = withDefault(found[i])
	}
	return found
}

// withDefault moves the default from the help to its own field. pflag prints neither the type of a switch nor a default
// that is zero.
func withDefault(f programFlag) programFlag {
	if f.Type == "" {
		f.Type = "bool"
	}
	if match := defaultSuffix.FindStringSubmatch(f.Help); match != nil {
		f.Help, f.Default = match[1], strings.Trim(match[2], `"`)
		return f
	}
	switch {
	case f.Type == "bool":
		f.Default = "false"
	case f.Type == "duration":
		f.Default = "0s"
	case strings.HasPrefix(f.Type, "int"), strings.HasPrefix(f.Type, "uint"), strings.HasPrefix(f.Type, "float"):
		f.Default = "0"
	}
	return f
}

func flagsPage(controller, syncer []programFlag) (string, error) {
	if len(controller) == 0 || len(syncer) == 0 {
		return "", fmt.Errorf("a program prints no flags that docgen can read; see parseHelp")
	}
	head := []string{"flag", "type", "default", "meaning"}
	return newPage(
		"# Flags",
		"A duration is a number with a unit, such as `30s`, `5m` or `1h30m`. `strings` is a list: separate its elements by\n"+
			"commas, or repeat the flag. An empty cell means that there is no default, or that the text names it.",
		"## synctarget-controller",
		"`config/manager` contains the Deployment with the usual flags; see [Install](../install.md). In a release the default\n"+
			"image of the syncer has its version instead of `dev`. The command `synctarget-controller install-api --kubeconfig=FILE`\n"+
			"applies `config/kcp`; it has no other flag.",
		table(head, flagRows(controller)),
		"## syncer",
		"The manifests of the syncer contain its flags. [`spec.syncer`](api.md) of the SyncTarget changes some of them.",
		table(head, flagRows(syncer)),
	), nil
}

func flagRows(flags []programFlag) [][]string {
	var rows [][]string
	for _, f := range flags {
		rows = append(rows, []string{code("--" + f.Name), f.Type, code(f.Default), text(f.Help)})
	}
	return rows
}
