package plugin

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
)

// The exit codes of the commands.
const (
	exitOK = 0
	// exitFailed: a SyncTarget is not ready, a check has failed, or the command could not do its work.
	exitFailed = 1
	// exitUsage: arguments or flags are wrong.
	exitUsage = 2
	// exitTimeout: what was waited for has not come about in time.
	exitTimeout = 3
)

// failure ends a command.
type failure struct {
	code    int
	message string
	// next is what the user can do about it.
	next string
}

func (f *failure) Error() string { return f.message }

func (f *failure) text() string { return fmt.Sprintf("error: %s\nnext: %s", f.message, f.next) }

func usage(next, format string, args ...any) error {
	return &failure{code: exitUsage, message: fmt.Sprintf(format, args...), next: next}
}

func failed(next, format string, args ...any) error {
	return &failure{code: exitFailed, message: fmt.Sprintf(format, args...), next: next}
}

// isAPIAbsent tells whether the server does not serve the resource at all, as a workspace without the APIBinding.
func isAPIAbsent(err error) bool {
	return apierrors.IsNotFound(err) && apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}

// describe gives every error an exit code and a next step.
func describe(err error) *failure {
	if f := (*failure)(nil); errors.As(err, &f) {
		return f
	}
	f := &failure{code: exitFailed, message: err.Error()}
	var unknownAuthority x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var network net.Error
	switch {
	case clientcmd.IsEmptyConfig(err):
		f.code, f.message = exitUsage, "no kubeconfig: neither --kubeconfig, nor KUBECONFIG, nor ~/.kube/config names a server"
		f.next = "give --kubeconfig, or set KUBECONFIG to a kubeconfig of the kcp workspace"
	case clientcmd.IsConfigurationInvalid(err):
		f.code, f.next = exitUsage, "list the contexts with: kubectl config get-contexts"
	case isAPIAbsent(err):
		f.message = "the workspace does not serve SyncTargets: it has no APIBinding to the export workload.kcp.io"
		f.next = "name another workspace with --workspace, or bind the API by registering a cluster: kubectl synctarget join --help"
	case apierrors.IsNotFound(err):
		f.next = "list the SyncTargets of the workspace: kubectl synctarget status; --workspace names another workspace"
	case apierrors.IsUnauthorized(err):
		f.next = "the credentials of the context have expired or are wrong: log in again, or name another context with --context"
	case apierrors.IsForbidden(err):
		f.next = "ask an administrator of the workspace or cluster for this right, or name another user with --context"
	case apierrors.IsConflict(err):
		f.next = "somebody changed the object at the same time: run the command again"
	case errors.As(err, &unknownAuthority), errors.As(err, &hostname):
		f.next = "the server's certificate does not fit the kubeconfig: correct its certificate-authority-data or server"
	case errors.As(err, &network):
		f.next = "the server cannot be reached: check the address in the kubeconfig, and the network, proxy and VPN between here and there"
	default:
		f.next = "run the command again; -v=6 shows the requests"
	}
	return f
}

// isTransient tells whether an error may go away by itself while something is waited for.
func isTransient(err error) bool {
	var network net.Error
	return apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err) || apierrors.IsTooManyRequests(err) || apierrors.IsInternalError(err) ||
		apierrors.IsServiceUnavailable(err) || apierrors.IsConflict(err) || (errors.As(err, &network) && !errors.Is(err, context.Canceled))
}
