package transform

import (
	"fmt"
	"slices"
	"strings"
)

// compare returns the paths of what want has and live does not have, at most limit of them, or all if limit is 0.
//
// What live has beyond want is a server's default or somebody else's, and is no difference; but a list with more
// items than wanted is one, since more arguments or more rules mean something else. An item of a list may stand at
// any index, since a server may merge lists. Null asks for nothing.
func compare(live, want any, limit int) []string {
	c := comparison{limit: limit}
	c.compare(live, want)
	return c.found
}

// includes tells whether live has all that want has.
func includes(live, want any) bool { return len(compare(live, want, 1)) == 0 }

// extendable is a list to which a cluster may add items of its own: some add to every ServiceAccount the Secrets of
// their own registry.
const extendable = "imagePullSecrets"

// comparison is a walk along two values.
type comparison struct {
	limit int
	path  path
	found []string
}

func (c *comparison) compare(live, want any) {
	switch want := want.(type) {
	case nil:
	case map[string]any:
		c.compareMaps(live, want)
	case []any:
		c.compareLists(live, want)
	case unstored:
		if live != nil && !want.defaulted {
			c.compare(live, want.value)
		}
	default:
		if !sameScalar(live, want) {
			c.report()
		}
	}
}

func (c *comparison) compareMaps(live any, want map[string]any) {
	fields, ok := live.(map[string]any)
	if !ok {
		c.report()
		return
	}
	for name, value := range want {
		if c.isDone() {
			return
		}
		c.descend(element{name: name}, fields[name], value)
	}
}

func (c *comparison) compareLists(live any, want []any) {
	items, ok := live.([]any)
	if !ok {
		c.report()
		return
	}
	for i, item := range want {
		if c.isDone() {
			return
		}
		if i < len(items) && includes(items[i], item) || containsItem(items, item) {
			continue
		}
		counterpart, at := counterpartOf(items, i, item)
		c.descend(at, counterpart, item)
	}
	if len(items) > len(want) && !c.path.endsIn(extendable) {
		c.report()
	}
}

func (c *comparison) descend(at element, live, want any) {
	c.path = append(c.path, at)
	c.compare(live, want)
	c.path = c.path[:len(c.path)-1]
}

func (c *comparison) report() { c.found = append(c.found, c.path.String()) }

func (c *comparison) isDone() bool { return c.limit > 0 && len(c.found) >= c.limit }

func containsItem(items []any, want any) bool {
	return slices.ContainsFunc(items, func(item any) bool { return includes(item, want) })
}

// counterpartOf finds the item of a list that is to be what is wanted at an index, and says where: the one of the
// same name if the item has a name, otherwise the one at the same index.
func counterpartOf(items []any, index int, want any) (any, element) {
	name, named := itemName(want)
	if !named {
		var counterpart any
		if index < len(items) {
			counterpart = items[index]
		}
		return counterpart, element{name: fmt.Sprint(index), item: true}
	}
	at := element{name: "name=" + name, item: true}
	for _, item := range items {
		if other, ok := itemName(item); ok && other == name {
			return item, at
		}
	}
	return nil, at
}

func itemName(item any) (name string, ok bool) {
	fields, _ := item.(map[string]any)
	name, ok = fields["name"].(string)
	return name, ok && name != ""
}

// sameScalar compares two scalars. JSON has one kind of number, Go has more.
func sameScalar(a, b any) bool {
	if x, ok := number(a); ok {
		y, ok := number(b)
		return ok && x == y
	}
	return a == b
}

func number(value any) (float64, bool) {
	switch value := value.(type) {
	case int64:
		return float64(value), true
	case float64:
		return value, true
	}
	return 0, false
}

// path is the way to a value, such as spec.template.spec.containers[name=web].image.
type path []element

// element of a path is the name of a field or the key of a map, or identifies an item of a list.
type element struct {
	name string
	item bool
}

func (p path) String() string {
	var b strings.Builder
	for i, e := range p {
		switch {
		case e.item || strings.ContainsAny(e.name, "./"):
			b.WriteString("[" + e.name + "]")
		case i == 0:
			b.WriteString(e.name)
		default:
			b.WriteString("." + e.name)
		}
	}
	return b.String()
}

func (p path) endsIn(field string) bool { return len(p) > 0 && p[len(p)-1] == (element{name: field}) }
