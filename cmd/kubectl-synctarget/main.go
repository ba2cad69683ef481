// Command kubectl-synctarget is a plugin of kubectl: kubectl synctarget.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/cli-runtime/pkg/genericiooptions"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // exec, oidc and the other ways to log in that kubectl knows

	"github.com/synctarget/synctarget/pkg/plugin"
)

// version is set by the linker: -ldflags "-X main.version=v0.1.0".
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	streams := genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}
	code := plugin.Run(ctx, streams, version, os.Args[1:])
	stop()
	os.Exit(code)
}
