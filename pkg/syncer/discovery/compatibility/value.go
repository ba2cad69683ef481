package compatibility

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// values looks at what the two schemas of one value say beyond its type.
func (w *walk) values(at path, from, to *schema) {
	if len(from.literals) > 0 || len(to.literals) > 0 {
		w.enum(at, from, to)
	}
	if len(from.literals) > 0 {
		return // the rest would be about values that cannot occur
	}
	w.bounds(at, from, to)
	if to.Pattern != "" && from.Pattern != to.Pattern && w.stated(from.Pattern != "") {
		w.differ(at, text("pattern", from.Pattern), text("pattern", to.Pattern))
	}
	if formatMatters(from, to) && w.stated(from.Format != "") {
		w.differ(at, text("format", from.Format), text("format", to.Format))
	}
}

// stated says whether it means anything that a schema does, or does not, restrict a value. Next to Go types a
// restriction that is not stated may be there nevertheless.
func (w *walk) stated(restricted bool) bool { return restricted || w.custom() }

// enum reports values that one side allows and the other does not.
func (w *walk) enum(at path, from, to *schema) {
	if len(to.literals) == 0 || !w.stated(len(from.literals) > 0) {
		return
	}
	if len(from.literals) == 0 {
		w.differ(at, "any value", "only "+strings.Join(to.literals, ", "))
		return
	}
	var more []string
	for _, value := range from.literals {
		if _, allowed := slices.BinarySearch(to.literals, value); !allowed {
			more = append(more, value)
		}
	}
	if len(more) > 0 {
		w.found.add(at, "%s allowed in %s, not allowed in %s",
			clip(strings.Join(more, ", "), maxTerm), w.from.side, w.to.side)
	}
}

// bounds reports the limits that are narrower where a value goes than where it comes from.
func (w *walk) bounds(at path, from, to *schema) {
	for _, b := range []struct {
		name     string
		from, to *float64
		upper    bool
		// open: the limit itself is not allowed where the value goes, while it is where it comes from.
		open bool
		// natural: without a limit it is 0, which nothing can be below.
		natural bool
	}{
		{name: "minimum", from: from.Minimum, to: to.Minimum, open: to.ExclusiveMinimum && !from.ExclusiveMinimum},
		{name: "maximum", from: from.Maximum, to: to.Maximum, open: to.ExclusiveMaximum && !from.ExclusiveMaximum, upper: true},
		{name: "minLength", from: from.MinLength, to: to.MinLength, natural: true},
		{name: "maxLength", from: from.MaxLength, to: to.MaxLength, upper: true},
		{name: "minItems", from: from.MinItems, to: to.MinItems, natural: true},
		{name: "maxItems", from: from.MaxItems, to: to.MaxItems, upper: true},
		{name: "minProperties", from: from.MinProperties, to: to.MinProperties, natural: true},
		{name: "maxProperties", from: from.MaxProperties, to: to.MaxProperties, upper: true},
	} {
		if b.to == nil || !w.stated(b.from != nil) || b.natural && *b.to <= 0 {
			continue
		}
		if b.from == nil || *b.from == *b.to && b.open || *b.from != *b.to && (*b.to < *b.from) == b.upper {
			w.differ(at, limit(b.name, b.from, false), limit(b.name, b.to, b.open))
		}
	}
}

func limit(name string, value *float64, open bool) string {
	if value == nil {
		return "no " + name
	}
	number := strconv.FormatFloat(*value, 'f', -1, 64)
	if open {
		return fmt.Sprintf("%s %s, exclusive,", name, number)
	}
	return name + " " + number
}

// formatMatters says whether two formats of a text differ in what they accept. Of numbers they differ in size only,
// and the formats of times and bytes are what a Go type has anyway, said or not.
func formatMatters(from, to *schema) bool {
	if from.Type != "string" || to.Type != "string" || to.Format == "" || from.Format == to.Format {
		return false
	}
	return from.Format != "" || to.Format != "date-time" && to.Format != "byte"
}

func text(name, value string) string {
	if value == "" {
		return "no " + name
	}
	return fmt.Sprintf("%s %q", name, value)
}
