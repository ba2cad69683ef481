package rejection

import (
	"fmt"
	"slices"
	"strings"
)

const (
	// maxMessage bounds a message of a server, in bytes. All annotations of an object share 256 KiB.
	maxMessage = 1024
	// omission stands for the text that was cut out.
	omission = " … "
)

// Clip returns a text as one line of valid UTF-8 of at most maxMessage bytes. Of a longer text it keeps the beginning,
// which names the reason, and the end, which names the detail, and leaves out the middle.
func Clip(text string) string { return clip(text, maxMessage) }

func clip(text string, limit int) string {
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, "")), " ")
	if len(text) <= limit {
		return text
	}
	kept := limit - len(omission)
	head := kept * 6 / 10
	first, last := text[:head], text[len(text)-(kept-head):]
	return strings.TrimSpace(strings.ToValidUTF8(first, "")) + omission + strings.TrimSpace(strings.ToValidUTF8(last, ""))
}

// atMost returns the first items, and after them how many more there are.
func atMost(items []string, limit int) []string {
	if len(items) <= limit {
		return items
	}
	return append(slices.Clone(items[:limit]), andMore(len(items)-limit))
}

func andMore(count int) string { return fmt.Sprintf("and %d more", count) }
