// Package pcluster leads from a SyncTarget's kubeconfig to a live client of its physical cluster (pcluster).
//
// A tenant's kubeconfig is hostile input, and so is the server it points to:
//
//   - Parse reads a kubeconfig by allow-list: https, inline CA, inline token or client certificate, nothing else.
//   - The dialer judges every address after DNS, right before it is connected to (dial.go). For private addresses the
//     sentences do not tell open ports from closed ones.
//   - The transport follows no redirect, uses no proxy, and bounds what it reads (transport.go).
//   - The client turns every failure into one sentence of our own (client.go, refusal.go). The message of an API
//     server's Status is quoted in it, on one line and cut, unless the request was about a Secret. Nothing else of what
//     the server sent is quoted. Credentials never appear.
//
// Clusters keeps one client per SyncTarget, replaced when the kubeconfig's content changes:
//
//	cluster, err := clusters.Get(ctx, id, kubeconfig)
//	switch {
//	case errors.Is(err, pcluster.ErrInvalid):     // the user must correct the kubeconfig
//	case errors.Is(err, pcluster.ErrUnreachable): // nothing is known about the cluster just now
//	case apierrors.IsUnauthorized(err), apierrors.IsForbidden(err): // the cluster refuses the kubeconfig's user
//	default: // ErrReplaced, or the context ended: retry
//	}
//	message := pcluster.Describe(err) // one plain, stable sentence for a condition
//
// A cluster that does not answer, or does not accept the credentials, is marked dead. Get, and every call of its client,
// then fails at once with the sentence remembered, so that dead clusters cost the workers nothing. Probes knock on the
// dead ones, from every 5 s down to once a minute, and call OnChange when one answers again or fails in another way. The
// others are asked every 20 s whether they still accept the credentials: a watch that is open outlives its token.
//
// First contacts and probes may hang, so they take place in the background and are limited: so many at a time in each
// workspace, and so many in all. Whoever registers a thousand black holes waits for his own.
//
// Cluster.Watch watches one object by name, its metadata alone, and calls OnChange when it changes or disappears. Where the
// cluster refuses that, Cluster.Unwatched says so, and the caller has to look by itself. A cluster at rest costs this watch,
// its connection, and nothing else but the checks of the credentials.
package pcluster
