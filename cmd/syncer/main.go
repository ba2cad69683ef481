// The syncer is the agent of a SyncTarget: it runs in the physical cluster and reports to kcp.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/pflag"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager/signals"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/synctarget/synctarget/pkg/syncer"
	"github.com/synctarget/synctarget/pkg/syncer/options"
	"github.com/synctarget/synctarget/pkg/syncer/reach"
)

// version is set by the linker: -ldflags "-X main.version=v0.1.0".
var version = "dev"

func main() {
	o := options.New()
	flags := pflag.NewFlagSet("syncer", pflag.ContinueOnError)
	o.AddFlags(flags)
	showVersion := flags.Bool("version", false, "Print the version and exit.")
	checkKcp := flags.String(options.FlagCheckKcp, "", "Only try whether kcp answers at this URL, and exit. The PEM bundle in the environment variable "+options.EnvCheckKcpCA+" verifies it.")

	switch err := flags.Parse(os.Args[1:]); {
	case errors.Is(err, pflag.ErrHelp):
		return
	case err != nil:
		fail(2, err)
	case *showVersion:
		fmt.Println(version)
		return
	case *checkKcp != "":
		if err := reach.Check(signals.SetupSignalHandler(), *checkKcp, []byte(os.Getenv(options.EnvCheckKcpCA))); err != nil {
			fail(1, err)
		}
		return
	}
	if err := o.Validate(); err != nil {
		fail(2, err)
	}
	if err := run(signals.SetupSignalHandler(), o); err != nil {
		fail(1, err)
	}
}

func run(ctx context.Context, o *options.Options) error {
	logger := newLogger(o.LogLevel)
	log.SetLogger(logger)
	klog.SetLogger(logger)
	// The controller has these from the controllers of controller-runtime, of which there are none here.
	for _, c := range []prometheus.Collector{collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})} {
		if err := metrics.Registry.Register(c); err != nil {
			return fmt.Errorf("registering the metrics of the process: %w", err)
		}
	}
	return syncer.Run(log.IntoContext(ctx, logger), o, syncer.Build{Version: version, Registerer: metrics.Registry})
}

// newLogger writes JSON lines to stderr. logr's verbosity n is slog's level -n.
func newLogger(verbosity int) logr.Logger {
	handler := slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: slog.Level(-verbosity)})
	return logr.FromSlogHandler(handler)
}

func fail(code int, err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(code)
}
