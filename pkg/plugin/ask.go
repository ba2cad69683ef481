package plugin

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"

	"k8s.io/kubectl/pkg/util/term"
)

// confirm asks the user on a terminal; elsewhere the flag --yes has to answer.
func (p *plugin) confirm(ctx context.Context, question string, yes bool) error {
	if yes {
		return nil
	}
	if file, ok := p.In.(*os.File); !ok || !term.IsTerminal(file) {
		return usage("add --yes to agree", "%s This has to be confirmed", question)
	}
	p.progress.stop()
	fmt.Fprintf(p.ErrOut, "%s Continue? [y/N] ", question)
	type line struct {
		text string
		err  error
	}
	read := make(chan line, 1) // nobody can end a read, so an interrupt does not wait for it
	go func() {
		text, err := bufio.NewReader(p.In).ReadString('\n')
		read <- line{text, err}
	}()
	var answer line
	select {
	case <-ctx.Done():
		fmt.Fprintln(p.ErrOut) // the question does not end its line
		return ctx.Err()
	case answer = <-read:
	}
	if answer.err != nil {
		return fmt.Errorf("reading the answer: %w", answer.err)
	}
	switch strings.ToLower(strings.TrimSpace(answer.text)) {
	case "y", "yes":
		return nil
	}
	return failed("run the command again, and answer y or add --yes", "not confirmed, so nothing of this was changed")
}
