package main

import "strings"

// conditionSection lists the condition types and, in the groups of the source, the reasons.
func conditionSection(constants []constant) string {
	parts := []string{
		"## Conditions",
		"[Troubleshoot](../troubleshoot.md#by-condition-reason) says what to do about each reason.",
		table([]string{"type", "constant", "meaning"}, constantRows(withPrefix(constants, "Condition"))),
	}
	for _, group := range groups(withPrefix(constants, "Reason")) {
		title := strings.TrimSuffix(group[0].Group, ".")
		if title == "" {
			title = "Other reasons"
		}
		parts = append(parts, "### "+text(title), table([]string{"reason", "constant", "meaning"}, constantRows(group)))
	}
	return paragraphs(parts...)
}

// metadataSection lists the constants whose values are names in metadata: those have a prefix with a slash.
func metadataSection(constants []constant) string {
	named := filter(constants, func(c constant) bool { return strings.Contains(c.Value, "/") })
	if len(named) == 0 {
		return ""
	}
	return paragraphs("## Labels, annotations, finalizers and field managers",
		"A name that ends in `-` or `/` is a prefix: the [key](../glossary.md#key) of a SyncTarget follows.",
		table([]string{"name", "constant", "meaning"}, constantRows(named)))
}

func withPrefix(constants []constant, prefix string) []constant {
	return filter(constants, func(c constant) bool { return strings.HasPrefix(c.Name, prefix) })
}

func filter(constants []constant, keep func(constant) bool) []constant {
	var kept []constant
	for _, c := range constants {
		if keep(c) {
			kept = append(kept, c)
		}
	}
	return kept
}

// groups divides constants by their group, in the order of its first constant. Those without a group are the last.
func groups(constants []constant) [][]constant {
	var names []string
	byName := map[string][]constant{}
	for _, c := range constants {
		if byName[c.Group] == nil && c.Group != "" {
			names = append(names, c.Group)
		}
		byName[c.Group] = append(byName[c.Group], c)
	}
	if byName[""] != nil {
		names = append(names, "")
	}
	var all [][]constant
	for _, name := range names {
		all = append(all, byName[name])
	}
	return all
}

func constantRows(constants []constant) [][]string {
	var rows [][]string
	for _, c := range constants {
		rows = append(rows, []string{code(c.Value), code(c.Name), c.Comment})
	}
	return rows
}
