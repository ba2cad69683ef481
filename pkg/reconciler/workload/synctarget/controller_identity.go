package synctarget

import (
	"context"
	"fmt"
	"strings"
	"sync"

	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/multicluster-runtime/pkg/multicluster"
)

// controllerIdentity is the controller's own user, as it appears in a workspace that it enters by itself, not through the virtual
// workspace.
type controllerIdentity struct {
	// config leads to the provider workspace.
	config *rest.Config
	// review asks who the user is there; a field so that unit tests need no server.
	review func(context.Context, *rest.Config) (authenticationv1.UserInfo, error)

	mu   sync.Mutex
	name string
}

// user is its name in other workspaces than its own. It is asked for when it is first needed, and does not change.
func (c *controllerIdentity) user(ctx context.Context) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.name == "" {
		info, err := c.review(ctx, c.config)
		if err != nil {
			return "", fmt.Errorf("asking kcp for the name of the service's own user: %w", err)
		}
		c.name = crossClusterUsername(info)
	}
	return c.name, nil
}

// in leads to another logical cluster.
func (c *controllerIdentity) in(cluster multicluster.ClusterName) *rest.Config {
	config := rest.CopyConfig(c.config)
	kcp, _, _ := strings.Cut(config.Host, "/clusters/")
	config.Host = kcp + "/clusters/" + cluster.String()
	return config
}

// crossClusterUsername is the name under which kcp knows a user outside its own logical cluster: it is another one for a
// ServiceAccount. See EffectiveUsers in kcp's pkg/registry/rbac/validation.
func crossClusterUsername(info authenticationv1.UserInfo) string {
	account, ok := strings.CutPrefix(info.Username, "system:serviceaccount:")
	clusters := info.Extra["authentication.kcp.io/cluster-name"]
	if !ok || len(clusters) != 1 {
		return info.Username
	}
	return fmt.Sprintf("system:kcp:serviceaccount:%s:%s", clusters[0], account)
}

func reviewOwnUser(ctx context.Context, config *rest.Config) (authenticationv1.UserInfo, error) {
	scheme := runtime.NewScheme()
	if err := authenticationv1.AddToScheme(scheme); err != nil {
		return authenticationv1.UserInfo{}, err
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return authenticationv1.UserInfo{}, err
	}
	var review authenticationv1.SelfSubjectReview
	err = c.Create(ctx, &review)
	return review.Status.UserInfo, err
}
