package synctarget

import (
	"sync"

	"k8s.io/apimachinery/pkg/util/sets"
)

// provenNamespaces remembers of which Namespaces was found right what the controller installs for them, by their names. So to open
// one more costs no look at the others.
type provenNamespaces struct {
	mu sync.Mutex
	// admitted are those in which the syncer has its rights in the workspace.
	admitted sets.Set[string]
	// downstream are those whose downstream Namespace was looked at.
	downstream map[string]provenDownstream
}

// provenDownstream is what was found of a downstream Namespace.
type provenDownstream struct {
	// input is what it follows from.
	input string
	// obstacle is what keeps it from being as it should be; empty for nothing.
	obstacle string
}

func newProvenNamespaces() *provenNamespaces {
	return &provenNamespaces{admitted: sets.New[string](), downstream: map[string]provenDownstream{}}
}

func (p *provenNamespaces) isAdmitted(name string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.admitted.Has(name)
}

func (p *provenNamespaces) setAdmitted(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.admitted.Insert(name)
}

// obstacle returns what keeps the downstream Namespace from being as this input wants it, and whether that is known.
func (p *provenNamespaces) obstacle(name, input string) (obstacle string, known bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	found, known := p.downstream[name]
	return found.obstacle, known && found.input == input
}

func (p *provenNamespaces) setDownstream(name, input, obstacle string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.downstream[name] = provenDownstream{input: input, obstacle: obstacle}
}

// forget tells that what was made for a Namespace is taken back.
func (p *provenNamespaces) forget(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.admitted.Delete(name)
	delete(p.downstream, name)
}

// forgetObstructed has those looked at again that are not as they should be.
func (p *provenNamespaces) forgetObstructed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, found := range p.downstream {
		if found.obstacle != "" {
			delete(p.downstream, name)
		}
	}
}

// covers reports whether all Namespaces that a plan needs were found right. One that is opened again never is: its rights may have
// been taken back.
func (p *provenNamespaces) covers(plan namespacePlan, pullMode bool) bool {
	if len(plan.in(namespaceReopening)) > 0 {
		return false
	}
	for _, n := range plan.admitted() {
		if !p.isAdmitted(n.Name) {
			return false
		}
	}
	if pullMode {
		return true
	}
	for _, n := range append(plan.admitted(), plan.in(namespaceDraining)...) {
		if obstacle, known := p.obstacle(n.Name, plan.downstreamInput(n.Name)); !known || obstacle != "" {
			return false
		}
	}
	return true
}
