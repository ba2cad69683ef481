package console

import (
	"fmt"
	"strings"

	"github.com/synctarget/synctarget/test/docs/markdown"
)

const (
	// runInfo is the info string of the blocks whose commands are run.
	runInfo = "console run"

	prompt       = "$ "
	continuation = ">"
)

// Command is a command of a page.
type Command struct {
	// Page is the path of the page, and Line the line of the prompt.
	Page string
	Line int
	// Text is what bash runs: the command, and in further lines its continuation.
	Text string
	// Want are the lines that the page shows as its output.
	Want []string
}

// Parse returns the commands of the blocks to run, in the order of the page.
func Parse(page, text string) ([]Command, error) {
	var commands []Command
	for _, b := range markdown.Parse(text) {
		if b.Kind != markdown.Code || b.Info != runInfo {
			continue
		}
		found, err := parseBlock(page, b)
		if err != nil {
			return nil, err
		}
		commands = append(commands, found...)
	}
	return commands, nil
}

func parseBlock(page string, b markdown.Block) ([]Command, error) {
	var commands []Command
	inCommand := false // false as soon as the output has begun
	for i, line := range b.Lines {
		if text, ok := strings.CutPrefix(line, prompt); ok {
			commands = append(commands, Command{Page: page, Line: b.Line + i, Text: text})
			inCommand = true
			continue
		}
		if len(commands) == 0 {
			return nil, fmt.Errorf("%s:%d: a block %q begins with a command; put %q before it, or remove %q from the block",
				page, b.Line+i, runInfo, prompt, "run")
		}
		last := &commands[len(commands)-1]
		if text, ok := cutContinuation(line); ok && inCommand {
			last.Text += "\n" + text
			continue
		}
		inCommand = false
		last.Want = append(last.Want, line)
	}
	return commands, nil
}

// cutContinuation returns what stands after "> ". A ">" alone continues a command with an empty line.
func cutContinuation(line string) (string, bool) {
	text, ok := strings.CutPrefix(line, continuation)
	if !ok || text != "" && text[0] != ' ' {
		return "", false
	}
	return strings.TrimPrefix(text, " "), true
}
