package plugin

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/briandowns/spinner"
	"k8s.io/kubectl/pkg/util/term"
)

// progress is what a command shows on stderr while it works: lines, and on a terminal a spinner with what is waited for.
type progress struct {
	out io.Writer
	// terminal is where a spinner is shown; nil for nowhere.
	terminal *os.File
	// spinner is the one that is shown; nil for none. Each one is used once: one that is started again while it ends may stand still.
	spinner *spinner.Spinner
	waiting string
}

// newProgress has a spinner on a terminal, unless NO_COLOR is set.
func newProgress(out io.Writer) *progress {
	p := &progress{out: out}
	if file, ok := out.(*os.File); ok && os.Getenv("NO_COLOR") == "" && term.IsTerminal(out) {
		p.terminal = file
	}
	return p
}

// plain turns the spinner off, for output that a program reads.
func (p *progress) plain() {
	p.stop()
	p.terminal = nil
}

// say prints a line.
func (p *progress) say(format string, args ...any) {
	p.stop()
	fmt.Fprintf(p.out, format+"\n", args...)
}

// wait shows what is waited for, once as long as it stays the same.
func (p *progress) wait(text string) {
	if text == p.waiting {
		return
	}
	p.waiting = text
	if p.terminal == nil {
		fmt.Fprintln(p.out, text)
		return
	}
	if p.spinner == nil {
		p.spinner = spinner.New(spinner.CharSets[14], 100*time.Millisecond, spinner.WithWriterFile(p.terminal))
	}
	p.spinner.Lock()
	p.spinner.Suffix = " " + text
	p.spinner.Unlock()
	p.spinner.Start()
}

// stop takes the spinner away.
func (p *progress) stop() {
	p.waiting = ""
	if p.spinner != nil {
		p.spinner.Stop()
		p.spinner = nil
	}
}
