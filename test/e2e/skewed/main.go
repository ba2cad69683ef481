// Skewed is the syncer with a clock that is an hour off, for the end-to-end tests: fast if the program is called so,
// slow otherwise. A container cannot have a wrong clock of its own, so the program has.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/manager/signals"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/synctarget/synctarget/pkg/syncer"
	"github.com/synctarget/synctarget/pkg/syncer/options"
)

type skewed struct {
	clock.RealClock
	by time.Duration
}

func (s skewed) Now() time.Time                     { return s.RealClock.Now().Add(s.by) }
func (s skewed) Since(then time.Time) time.Duration { return s.Now().Sub(then) }

func main() {
	o := options.New()
	flags := pflag.NewFlagSet("skewed", pflag.ContinueOnError)
	o.AddFlags(flags)
	if err := flags.Parse(os.Args[1:]); err != nil {
		fail(err)
	}
	by := -time.Hour
	if filepath.Base(os.Args[0]) == "fast" {
		by = time.Hour
	}
	log.SetLogger(zap.New())
	build := syncer.Build{Version: "skewed", Registerer: metrics.Registry, Clock: skewed{by: by}}
	if err := syncer.Run(signals.SetupSignalHandler(), o, build); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
