package console

import (
	"fmt"
	"strings"
	"time"
)

// Timeout is how long a command of a page may take.
const Timeout = 3 * time.Minute

// RunPage runs the commands of a page in one shell in the folder. It stops at the first command that fails or prints
// something else than the page shows, since the later ones build on it. Each command is logged before it runs.
func RunPage(dir string, commands []Command, timeout time.Duration, log func(format string, args ...any)) error {
	shell, err := StartShell(dir)
	if err != nil {
		return err
	}
	defer shell.Close()
	for _, c := range commands {
		log("%s:%d: $ %s", c.Page, c.Line, c.Text)
		result, err := shell.Run(c.Text, timeout)
		if err := checkResult(c, result, err); err != nil {
			return err
		}
	}
	return nil
}

// checkResult returns an error that says what is wrong with the result of a command, and how to mend it.
func checkResult(c Command, r Result, err error) error {
	diff := Diff(c.Want, lines(r.Output))
	var fault, hint string
	switch {
	case err != nil:
		fault, hint = err.Error(), "correct the command, or what it waits for"
	case r.Status != 0:
		fault = fmt.Sprintf("the command failed with exit status %d", r.Status)
		hint = "correct the command, or what it calls; if it is meant to fail, append `|| true`"
	case diff != "":
		fault = "the output is not what the page shows"
		hint = fmt.Sprintf("if the new output is right, put it into %s, with … for what differs from run to run; "+
			"if not, correct what the command calls", c.Page)
	default:
		return nil
	}
	text := fmt.Sprintf("%s:%d: %s\n%s", c.Page, c.Line, fault, indent("$ "+strings.ReplaceAll(c.Text, "\n", "\n> ")))
	if diff == "" {
		return fmt.Errorf("%s\n%s\nto do: %s", text, indent(r.Output), hint)
	}
	return fmt.Errorf("%s\nThe page (-) and the output (+):\n%s\nto do: %s", text, indent(diff), hint)
}

// lines divides an output into lines.
func lines(output string) []string {
	if output == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(output, "\n"), "\n")
}

func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n  ")
}
