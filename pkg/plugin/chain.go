package plugin

import "fmt"

// linkState says whether a link of a chain holds.
type linkState string

const (
	linkHolds  linkState = "Holds"
	linkBroken linkState = "Broken"
	// linkNotJudged: a link before it is broken, or ends the chain.
	linkNotJudged linkState = "NotJudged"
)

// link is one thing that has to be so before an object runs in a cluster.
type link struct {
	Name  string    `json:"name"`
	State linkState `json:"state"`
	// Message is a clause that says what was found.
	Message string `json:"message,omitempty"`
	// Next is what to do about a broken one.
	Next string `json:"next,omitempty"`
}

func holds(format string, args ...any) link {
	return link{State: linkHolds, Message: fmt.Sprintf(format, args...)}
}

func breaks(next, format string, args ...any) link {
	return link{State: linkBroken, Message: fmt.Sprintf(format, args...), Next: next}
}

// ends is for a link after which there is nothing to judge, and nothing wrong.
func ends(format string, args ...any) link {
	return link{State: linkNotJudged, Message: fmt.Sprintf(format, args...)}
}

// chain is the way of an object from the workspace to the clusters.
type chain struct {
	Kind      string `json:"kind"`
	Resource  string `json:"resource"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	Workspace string `json:"workspace"`
	// Links lead to the decision on which clusters the object runs, and SyncTargets holds those to each of them.
	Links       []link        `json:"links"`
	SyncTargets []targetLinks `json:"syncTargets,omitempty"`
}

// targetLinks are the links of a chain that lead to one cluster.
type targetLinks struct {
	Name  string `json:"name"`
	Links []link `json:"links"`
}

// broken returns the first broken link, nil if none is, and the SyncTarget that it leads to, empty for one before the decision.
func (c *chain) broken() (first *link, target string) {
	if first := firstBroken(c.Links); first != nil {
		return first, ""
	}
	for i := range c.SyncTargets {
		if first := firstBroken(c.SyncTargets[i].Links); first != nil {
			return first, c.SyncTargets[i].Name
		}
	}
	return nil, ""
}

func firstBroken(links []link) *link {
	for i := range links {
		if links[i].State == linkBroken {
			return &links[i]
		}
	}
	return nil
}

// judgement judges one link.
type judgement struct {
	name  string
	judge func() link
}

// judge returns the links, those up to the first that does not hold with what was found, and whether all hold. None is judged if
// what leads to them is broken. A judgement may rely on what those before it have found.
func judge(reached bool, judgements []judgement) (links []link, all bool) {
	all = reached
	for _, j := range judgements {
		if !all {
			links = append(links, link{Name: j.name, State: linkNotJudged})
			continue
		}
		found := j.judge()
		found.Name = j.name
		links, all = append(links, found), found.State == linkHolds
	}
	return links, all
}
