package main

import (
	"context"
	"fmt"

	"github.com/synctarget/synctarget/test/framework"
)

// installCompute offers the workload APIs, config/kcp-compute, in a workspace of their own, for tenants to bind.
func installCompute(ctx context.Context, env *framework.Environment) error {
	const name = "compute"
	if err := env.EnsureWorkspace(ctx, name); err != nil {
		return err
	}
	workspace := "root:" + name
	// On the server's side, as kubectl would else keep a second copy of each large schema in an annotation.
	if _, err := env.Kubectl(ctx, workspace, "", "apply", "--server-side", "-k", env.Repo+"/config/kcp-compute"); err != nil {
		return err
	}
	fmt.Printf("workspace %s: config/kcp-compute applied\n", workspace)
	return nil
}
