package scheduler

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"

	"k8s.io/apimachinery/pkg/types"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// candidate is a cluster that passes the filters which are the same for every Namespace, with the scores that are.
type candidate struct {
	*cluster
	// untainted counts the PreferNoSchedule taints that are not tolerated, as a negative number.
	untainted int64
	// preferred is the sum of the weights of the preferred terms that match.
	preferred int64
	// cpu is how much it offers, in thousandths of a core.
	cpu int64
}

const (
	// unknownCPU is how much a cluster counts for that neither declares nor measures its CPU: one core.
	unknownCPU = 1000
	// shareUnits are the units of freeShare in one thousandth of a core, so that the shares of many Namespaces differ.
	shareUnits = 1_000_000
)

// score rates one candidate for one Namespace.
type score struct {
	name string
	rate func(r *request, c *candidate) int64
}

// scores are asked in this order: the first one that differs decides between two clusters. Where none does, a hash of
// the Namespace and the cluster decides, so that Namespaces spread evenly and a cluster more changes few decisions.
func scores() []score {
	return []score{
		{"WasThere", func(r *request, c *candidate) int64 { return asNumber(r.hints.Has(c.name)) }},
		{"Taints", func(_ *request, c *candidate) int64 { return c.untainted }},
		{"Preferred", func(_ *request, c *candidate) int64 { return c.preferred }},
		{"Spread", func(r *request, c *candidate) int64 { return -excessSkew(r.spreads, c.cluster) }},
		{"FreeShare", func(_ *request, c *candidate) int64 { return c.freeShare() }},
		{"HasNamespaces", func(_ *request, c *candidate) int64 { return asNumber(c.running > 0) }},
	}
}

// freeShare is how much CPU one more Namespace would get if all that run there shared it alike. What Pods request is
// not part of it: a syncer may not list the Pods of a whole cluster.
func (c *candidate) freeShare() int64 { return c.cpu * shareUnits / int64(c.running+1) }

func asNumber(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func newCandidate(p *policy, c *cluster) *candidate {
	result := &candidate{cluster: c}
	for i := range c.taints {
		if c.taints[i].Effect == workloadv1alpha1.TaintPreferNoSchedule && !tolerated(p.placement.Spec.Tolerations, &c.taints[i]) {
			result.untainted--
		}
	}
	for i := range p.preferred {
		if p.preferred[i].matches(c) {
			result.preferred += p.preferred[i].weight
		}
	}
	result.cpu = unknownCPU
	if cpu, known := offered(c, "cpu"); known {
		result.cpu = cpu
	}
	return result
}

// better reports whether a is to be preferred to b.
func better(r *request, scores []score, a, b *candidate) bool {
	for _, s := range scores {
		if d := cmp.Compare(s.rate(r, a), s.rate(r, b)); d != 0 {
			return d > 0
		}
	}
	return rendezvous(r.namespace.UID, a.key) > rendezvous(r.namespace.UID, b.key)
}

// rendezvous is the weight of a cluster for a Namespace in highest random weight hashing (Thaler and Ravishankar,
// 1998).
func rendezvous(uid types.UID, key string) uint64 {
	buffer := make([]byte, 0, 128)
	sum := sha256.Sum256(append(append(append(buffer, uid...), '/'), key...))
	return binary.BigEndian.Uint64(sum[:])
}
