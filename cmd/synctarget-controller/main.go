// Command synctarget-controller runs beside kcp and serves every workspace that binds the APIExport workload.kcp.io.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/pflag"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
)

// version is set by the build.
var version = "dev"

func main() {
	if len(os.Args) > 1 && os.Args[1] == commandInstallAPI {
		setLogger(newOptions())
		if err := installAPI(ctrl.SetupSignalHandler(), os.Args[2:], os.Stdout); err != nil {
			fmt.Fprintf(os.Stderr, "synctarget-controller %s: %v\n", commandInstallAPI, err)
			os.Exit(1)
		}
		return
	}
	opts := newOptions()
	opts.addFlags(pflag.CommandLine)
	pflag.Usage = usage
	pflag.Parse()
	if opts.version {
		fmt.Println(version)
		return
	}
	setLogger(opts)

	if err := errors.Join(refuseArguments(pflag.Args()), opts.complete()); err != nil {
		fmt.Fprintf(os.Stderr, "synctarget-controller: %v\n", err)
		os.Exit(2)
	}
	if err := run(ctrl.SetupSignalHandler(), opts); err != nil {
		log.Log.Error(err, "The controller ended")
		os.Exit(1)
	}
}

func usage() {
	fmt.Fprintf(os.Stderr, "Usage:\n  synctarget-controller [flags]\n  synctarget-controller %s --kubeconfig=FILE   applies config/kcp in the provider workspace\n\nFlags:\n%s", commandInstallAPI, pflag.CommandLine.FlagUsages())
}

// setLogger sets the one log of this process: also client-go's, which writes to klog.
func setLogger(opts *options) {
	logger := zap.New(zap.UseFlagOptions(&opts.zap))
	log.SetLogger(logger)
	klog.SetLogger(logger)
}

func run(ctx context.Context, opts *options) error {
	mgr, err := newManager(ctx, opts)
	if err != nil {
		return err
	}
	log.FromContext(ctx).Info("Starting synctarget-controller", "version", version, "kcp", opts.kcp.Host, "syncerImage", opts.syncerImage)
	return mgr.Start(ctx)
}
