package plugin

import (
	"encoding/json"
	"io"
	"slices"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"
)

// The formats of what is no list of objects.
const (
	outputText = "text"
	outputJSON = "json"
	outputYAML = "yaml"
)

var outputs = []string{outputText, outputJSON, outputYAML}

func addOutputFlag(cmd *cobra.Command, output *string) {
	cmd.Flags().StringVarP(output, "output", "o", outputText, "Format: text, json or yaml.")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(outputs, cobra.ShellCompDirectiveNoFileComp))
}

func checkOutput(output string) error {
	if !slices.Contains(outputs, output) {
		return usage(`give "text", "json" or "yaml"`, "invalid --output %q", output)
	}
	return nil
}

// printData prints a value as JSON or YAML.
func printData(out io.Writer, output string, value any) error {
	data, err := json.MarshalIndent(value, "", "    ")
	if err != nil {
		return err
	}
	data = append(data, '\n')
	if output == outputYAML {
		if data, err = yaml.JSONToYAML(data); err != nil {
			return err
		}
	}
	_, err = out.Write(data)
	return err
}
