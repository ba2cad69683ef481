package plugin

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"time"

	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/client-go/rest"

	apisv1alpha2 "github.com/kcp-dev/sdk/apis/apis/v1alpha2"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/reconciler/workload/claims"
)

const (
	// contactTimeout bounds the first request to a server.
	contactTimeout = 15 * time.Second
	// maxClockDifference is well below the time that tokens and certificates of a cluster may be off.
	maxClockDifference = 30 * time.Second
	// certificateWarning is how long before its end a certificate is worth a warning.
	certificateWarning = 14 * 24 * time.Hour
	// maxVersionLength bounds what is read of an answer.
	maxVersionLength = 64 << 10
)

// answer is what a server says of itself.
type answer struct {
	// version of Kubernetes, with kcp's after a "+".
	version string
	// notAfter is the end of its certificate.
	notAfter time.Time
	// date is the time of its clock, to the second.
	date time.Time
}

// contactServer asks a server for its version.
func contactServer(ctx context.Context, config *rest.Config) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, contactTimeout)
	defer cancel()
	httpClient, err := rest.HTTPClientFor(config)
	if err != nil {
		return answer{}, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, config.Host+"/version", nil)
	if err != nil {
		return answer{}, err
	}
	response, err := httpClient.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = response.Body.Close() }()
	var seen answer
	if response.TLS != nil && len(response.TLS.PeerCertificates) > 0 {
		seen.notAfter = response.TLS.PeerCertificates[0].NotAfter
	}
	if date, err := http.ParseTime(response.Header.Get("Date")); err == nil {
		seen.date = date
	}
	var body struct {
		GitVersion string `json:"gitVersion"`
	}
	data, err := io.ReadAll(io.LimitReader(response.Body, maxVersionLength))
	if err != nil {
		return answer{}, err
	}
	if json.Unmarshal(data, &body) == nil { // without the right to read it, the version is not known
		seen.version = body.GitVersion
	}
	return seen, nil
}

// serverFindings judge the answer of a server.
func serverFindings(name string, seen answer, now time.Time) []finding {
	out := []finding{{passed, fmt.Sprintf("%s answers, version %s", name, orAbsent(seen.version)), ""}}
	switch left := seen.notAfter.Sub(now); {
	case seen.notAfter.IsZero():
	case left <= 0:
		out = append(out, finding{wrong, fmt.Sprintf("the certificate of %s has expired on %s", name, seen.notAfter.Format(time.DateOnly)), "renew it on the server"})
	case left < certificateWarning:
		out = append(out, finding{warned, fmt.Sprintf("the certificate of %s expires on %s", name, seen.notAfter.Format(time.DateOnly)), "renew it on the server"})
	default:
		out = append(out, finding{passed, fmt.Sprintf("the certificate of %s is valid until %s", name, seen.notAfter.Format(time.DateOnly)), ""})
	}
	if seen.date.IsZero() {
		return out
	}
	if difference := now.Sub(seen.date).Abs(); difference > maxClockDifference {
		return append(out, finding{wrong, fmt.Sprintf("the clock of %s differs by %s from the one here", name, difference.Round(time.Second)), "synchronize both clocks, with NTP for example"})
	}
	return append(out, finding{passed, fmt.Sprintf("the clock of %s is right", name), ""})
}

// kcpFinding judges the version of kcp.
func kcpFinding(gitVersion string) finding {
	match := regexp.MustCompile(`kcp-(v\d+\.\d+\.\d+)`).FindStringSubmatch(gitVersion)
	if match == nil {
		return finding{skipped, "the version of kcp is not known", "see that it is v0.31.3, v0.32.1 or newer"}
	}
	kcp := version.MustParseSemantic(match[1])
	switch {
	case kcp.LessThan(version.MustParseSemantic("v0.31.0")):
		return finding{wrong, fmt.Sprintf("kcp %s is too old", match[1]), "upgrade kcp to v0.31.3, v0.32.1 or newer"}
	case kcp.LessThan(version.MustParseSemantic("v0.31.3")), kcp.EqualTo(version.MustParseSemantic("v0.32.0")):
		return finding{warned, fmt.Sprintf("kcp %s has a known authentication bypass", match[1]), "in production, upgrade kcp to v0.31.3, v0.32.1 or newer"}
	}
	return finding{passed, fmt.Sprintf("kcp %s is supported", match[1]), ""}
}

// bindingFindings judge the APIBinding, nil for none. pre says that join is yet to make it.
func bindingFindings(binding *apisv1alpha2.APIBinding, pre bool) []finding {
	const bind = "bind it: kubectl synctarget join --help, or kubectl apply -k config/samples/binding"
	if binding == nil {
		what := fmt.Sprintf("the workspace has no APIBinding to the export %q", exportName)
		if pre {
			return []finding{{skipped, what, "join makes it, after asking"}}
		}
		return []finding{{wrong, what, bind}}
	}
	out := []finding{{passed, fmt.Sprintf("APIBinding %q is bound", binding.Name), ""}}
	if problem := bindingProblem(binding); problem != "" {
		out[0] = finding{wrong, fmt.Sprintf("APIBinding %q is not bound: %s", binding.Name, problem), "see why with: kubectl describe apibinding " + binding.Name}
	}
	return append(out, claimFindings(binding)...)
}

// claimFindings judge the permission claims that the APIBinding accepts. One that is optional is worth a warning.
func claimFindings(binding *apisv1alpha2.APIBinding) (out []finding) {
	const accept = "kubectl synctarget join NAME … --yes, or as in config/samples/binding/apibinding.yaml"
	bindings := []apisv1alpha2.APIBinding{*binding}
	missing, optional := claims.Missing(bindings, exportName), claims.MissingOptional(bindings, exportName)
	switch {
	case len(missing) > 0:
		out = append(out, finding{wrong, fmt.Sprintf("APIBinding %q does not accept permission claims, or not with all verbs: %s", binding.Name, claims.Names(missing)),
			"accept them: " + accept})
	case len(optional) > 0:
		out = append(out, finding{passed, "all permission claims that the service needs are accepted", ""})
	default:
		out = append(out, finding{passed, "all permission claims are accepted", ""})
	}
	for _, claim := range optional {
		out = append(out, finding{warned, fmt.Sprintf("APIBinding %q does not accept the optional permission claim %s: without it, %s", binding.Name, claim, claim.Lost()),
			"to change that, accept it: " + accept})
	}
	return out
}

// conditionFinding judges a SyncTarget by the first of its conditions that is not True, since the others follow from it.
func conditionFinding(target *workloadv1alpha1.SyncTarget) finding {
	open := notTrue(target)
	if len(open) == 0 {
		return finding{passed, fmt.Sprintf("SyncTarget %q is Ready", target.Name), ""}
	}
	return finding{wrong, fmt.Sprintf("SyncTarget %q: %s", target.Name, conditionText(open[0])), nextFor(target, open[0])}
}
