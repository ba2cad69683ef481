package agent

import (
	"regexp"
	"strings"

	"github.com/synctarget/synctarget/pkg/sanitize"
)

// maxWords bounds what is told of the words of a physical cluster, in characters.
const maxWords = 256

// oneLine bounds and cleans words that come from a physical cluster.
func oneLine(text string) string { return bounded(clean(text)) }

func clean(text string) string { return sanitize.WithoutSourcePort(sanitize.Line(text)) }

func bounded(text string) string { return sanitize.Truncate(text, maxWords) }

// pullFailure is why an image cannot be pulled, in the same words while kubelet tries and while it backs off.
func pullFailure(text string) string {
	text = clean(text)
	if strings.HasPrefix(text, "Back-off pulling image ") {
		_, text, _ = strings.Cut(text, `": `) // older kubelets say no more than that they back off
	}
	text = strings.TrimPrefix(text, "ErrImagePull: ")
	if strings.HasPrefix(text, "rpc error: ") {
		if _, words, found := strings.Cut(text, " desc = "); found {
			text = words
		}
	}
	return bounded(text)
}

// schedulerWords is why no node takes a pod, without how many nodes say so and without what preemption would bring.
func schedulerWords(text string) string {
	text, _, _ = strings.Cut(clean(text), " preemption: ")
	text = regexp.MustCompile(`^\d+/\d+ nodes are available: `).ReplaceAllString(text, "")
	text = regexp.MustCompile(`(^|, )\d+ `).ReplaceAllString(text, "$1")
	return bounded(strings.TrimSuffix(text, "."))
}

// withoutPodName drops the name of a pod that was never made, which is a new one at each attempt.
func withoutPodName(text string) string {
	return regexp.MustCompile(`(?i)\bpods? "[^"]*" is `).ReplaceAllString(text, "")
}

// lastWords is the last line that a container left, unless it is a line of the log: its time is another at each crash.
func lastWords(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	last := lines[len(lines)-1]
	if regexp.MustCompile(`\d\d:\d\d:\d\d`).MatchString(last) {
		return ""
	}
	return oneLine(last)
}
