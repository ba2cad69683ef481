package compatibility

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// walk compares two schemas in the direction in which objects travel.
type walk struct {
	// from accepted the objects, to must understand them. Set by Compare.
	from, to *document
	// work and found are shared by the two ways. Set by Compare.
	work  *budget
	found *findings
	// met holds the pairs of resolved schemas that were compared or are being compared: recursion ends at them.
	met map[pair]bool
}

type pair struct{ from, to *schema }

// compare looks at the two schemas of one value.
func (w *walk) compare(at path, from, to *schema) error {
	if len(at) > maxDepth {
		return fmt.Errorf("more than %d levels: %w", maxDepth, ErrTooComplex)
	}
	if w.found.full() {
		return nil
	}
	from, err := w.from.resolve(from)
	if err != nil {
		return err
	}
	if to, err = w.to.resolve(to); err != nil {
		return err
	}
	if w.met[pair{from, to}] {
		return nil
	}
	if err := w.work.spend(1 + from.size() + to.size()); err != nil {
		return err
	}
	w.met[pair{from, to}] = true

	if !w.types(at, from, to) {
		return nil
	}
	w.values(at, from, to)
	if from.Items != nil && to.Items != nil {
		if err := w.compare(at.element(), from.Items, to.Items); err != nil {
			return err
		}
	}
	return w.fields(at, from, to)
}

// types reports a value that may have a type that the other side does not know, and says whether it makes sense to
// look deeper.
func (w *walk) types(at path, from, to *schema) bool {
	have, want := from.types(), to.types()
	if len(have) == 0 || len(want) == 0 {
		return true
	}
	for _, t := range have {
		if slices.Contains(want, t) || t == "integer" && slices.Contains(want, "number") {
			continue
		}
		w.differ(at, strings.Join(have, " or "), strings.Join(want, " or "))
		return false
	}
	return true
}

// fields looks at the two schemas of one object. They are resolved.
func (w *walk) fields(at path, from, to *schema) error {
	for _, name := range slices.Sorted(maps.Keys(from.Properties)) {
		if known := to.field(name); known != nil {
			if err := w.compare(at.field(name), from.Properties[name], known); err != nil {
				return err
			}
		} else if !to.open() {
			w.unknown(at.field(name))
		}
	}
	if from.element != nil && to.element != nil {
		if err := w.compare(at.field("*"), from.element, to.element); err != nil {
			return err
		}
	} else if from.element != nil && !to.open() {
		w.found.add(at.field("*"), "any field in %s, certain fields only in %s, where others would be lost",
			w.from.side, w.to.side)
	}
	w.required(at, from, to)
	return nil
}

// unknown reports a field that one side alone knows. Next to a kind written in Go it is one of another release: objects that do
// not use it travel, and one that does is refused by name.
func (w *walk) unknown(at path) {
	switch {
	case w.custom():
		w.found.add(at, "known in %s, unknown in %s, where it would be lost", w.from.side, w.to.side)
	case w.from.side == upstream:
		w.found.addPartial(at, fmt.Sprintf("known in %s, unknown in %s, which refuses the objects that use it", w.from.side, w.to.side))
	default:
		w.found.addPartial(at, fmt.Sprintf("known in %s, unknown in %s, which does not show it", w.from.side, w.to.side))
	}
}

// custom tells whether both sides define the kind.
func (w *walk) custom() bool { return !w.from.native && !w.to.native }

// required reports the fields that an object may lack where it comes from, and must have where it goes. A schema that
// names no fields does not tell what its objects have.
func (w *walk) required(at path, from, to *schema) {
	if len(from.Properties) == 0 {
		return
	}
	present := make(map[string]bool, len(from.Required))
	for _, name := range from.Required {
		present[name] = true
	}
	for _, name := range slices.Sorted(slices.Values(to.Required)) {
		switch {
		case present[name],
			from.Properties[name].fills(w.from.native),
			to.Properties[name].fills(w.to.native):
		case from.field(name) != nil:
			w.differ(at.field(name), "optional", "required")
		case !from.open():
			w.differ(at.field(name), "unknown", "required")
		}
	}
}

// differ reports what each of the sides says.
func (w *walk) differ(at path, from, to string) {
	w.found.add(at, "%s in %s, %s in %s", clip(from, maxTerm), w.from.side, clip(to, maxTerm), w.to.side)
}
