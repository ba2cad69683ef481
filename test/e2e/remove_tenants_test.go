package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"sigs.k8s.io/yaml"

	tenancyv1alpha1 "github.com/kcp-dev/sdk/apis/tenancy/v1alpha1"
)

const (
	// removalTimeout is for the removal of all the workspaces that the stories have left, on a busy machine.
	removalTimeout = 5 * patience
	// removalInterval is between two looks at them.
	removalInterval = 5 * time.Second
	// retryAnnotation is changed on a LogicalCluster that is being deleted, so that kcp retries its deletion at once.
	retryAnnotation = "e2e.synctarget.test/retry-deletion"
)

// removeTenants deletes the workspaces that the harness made for tests, and waits until they are gone. kcp retries the
// deletion of a workspace that was not empty with a backoff that doubles, up to a quarter of an hour; a change of its
// LogicalCluster makes it look again at once.
func removeTenants(ctx context.Context) error {
	var left []tenancyv1alpha1.Workspace
	err := wait.PollUntilContextTimeout(ctx, removalInterval, removalTimeout, true, func(ctx context.Context) (bool, error) {
		workspaces, err := testWorkspaces(ctx)
		if err != nil {
			return false, err
		}
		left = workspaces
		for i := range left {
			if err := removeTenant(ctx, &left[i]); err != nil {
				return false, err
			}
		}
		return len(left) == 0, nil
	})
	if err == nil || len(left) == 0 {
		return err
	}
	errs := []error{fmt.Errorf("removing the workspaces of the stories, of which %d are left: %w", len(left), err)}
	for i := range left {
		conditions, err := logicalCluster(ctx, &left[i], "get", "-o=jsonpath={.status.conditions}")
		errs = append(errs, fmt.Errorf("workspace %s (%s) is not removed: %s", left[i].Name, left[i].Spec.Cluster, conditions), err)
	}
	return errors.Join(errs...)
}

// testWorkspaces returns the workspaces that the harness made.
func testWorkspaces(ctx context.Context) ([]tenancyv1alpha1.Workspace, error) {
	out, err := env.Kubectl(ctx, "root", "", "get", "workspaces", "-o=json")
	if err != nil {
		return nil, err
	}
	var list tenancyv1alpha1.WorkspaceList
	if err := yaml.Unmarshal([]byte(out), &list); err != nil {
		return nil, fmt.Errorf("parsing the list of workspaces: %w", err)
	}
	var found []tenancyv1alpha1.Workspace
	for i := range list.Items {
		if strings.HasPrefix(list.Items[i].Name, "e2e-workspace-") {
			found = append(found, list.Items[i])
		}
	}
	return found, nil
}

// removeTenant deletes a workspace, or has kcp retry a deletion that is under way.
func removeTenant(ctx context.Context, workspace *tenancyv1alpha1.Workspace) error {
	if workspace.DeletionTimestamp == nil {
		_, err := env.Kubectl(ctx, "root", "", "delete", "workspace", workspace.Name, "--ignore-not-found", "--wait=false")
		return err
	}
	if _, err := logicalCluster(ctx, workspace, "annotate", "--overwrite", fmt.Sprintf("%s=%d", retryAnnotation, time.Now().Unix())); err != nil {
		fmt.Printf("e2e: workspace %s: %v\n", workspace.Name, err) // it may just have gone
	}
	return nil
}

// logicalCluster runs a command of kubectl on the LogicalCluster of a workspace.
func logicalCluster(ctx context.Context, workspace *tenancyv1alpha1.Workspace, command string, args ...string) (string, error) {
	return env.Kubectl(ctx, workspace.Spec.Cluster, "", append([]string{command, "logicalclusters.core.kcp.io", "cluster"}, args...)...)
}
