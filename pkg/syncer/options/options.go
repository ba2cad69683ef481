// Package options is the contract between who installs the syncer and the syncer itself: the command line.
// AddFlags reads it, Args writes it, and a test holds that each is the inverse of the other.
package options

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/pflag"
)

// Defaults that the installer relies on, and limits that Validate holds.
const (
	// DefaultMetricsPort serves /metrics.
	DefaultMetricsPort = 8443
	// DefaultHealthPort serves /healthz and /readyz.
	DefaultHealthPort = 8081
	// DefaultHeartbeatInterval is the mean time between two heartbeats.
	DefaultHeartbeatInterval = 30 * time.Second
	// MinHeartbeatInterval is the resolution of a timestamp in the API: closer heartbeats would look the same.
	MinHeartbeatInterval = time.Second
	// MaxHeartbeatInterval leaves room for one lost heartbeat before the controller's threshold of 5 min.
	MaxHeartbeatInterval = 2 * time.Minute
	// MaxLogLevel is the highest verbosity: from 8 on, Kubernetes' client logs what it sends and receives, Secrets too.
	MaxLogLevel = 7
	// DefaultQPS is the limit of requests per second to each side.
	DefaultQPS = 200
	// MaxQPS is also the maximum of spec.syncer.kubeAPIQPS.
	MaxQPS = 10000
	// burstPerQPS times QPS is the burst, if none is set.
	burstPerQPS = 2
	// LeaseName is the Lease by which the replicas elect a leader, in the syncer's own Namespace.
	LeaseName = "syncer"
	// DefaultKcpKubeconfig is where the installer mounts the kubeconfig of the workspace.
	DefaultKcpKubeconfig = "/var/run/synctarget/kubeconfig"
	// FlagCheckKcp is the flag by which the syncer only tries whether kcp answers at a URL, and exits.
	FlagCheckKcp = "check-kcp"
	// EnvCheckKcpCA is the environment variable with the PEM bundle that verifies kcp then; empty for the system's roots.
	EnvCheckKcpCA = "KCP_CA"
)

// Options configure one syncer.
type Options struct {
	// KcpKubeconfig is the path of a kubeconfig whose current context leads to the workspace of the SyncTarget.
	KcpKubeconfig string
	// Kubeconfig is the path of a kubeconfig of the physical cluster; empty inside a pod of that cluster.
	Kubeconfig string
	// SyncTargetName is the SyncTarget that the syncer acts for.
	SyncTargetName string
	// SyncTargetUID tells it from a later one of the same name.
	SyncTargetUID string
	// Key is the SyncTarget's status.key.
	Key string
	// Namespace is the syncer's own Namespace in the physical cluster, where its Lease lives.
	Namespace string
	// HeartbeatInterval is the mean time between two heartbeats; each is jittered by 10 %.
	HeartbeatInterval time.Duration
	// MetricsBindAddress serves /metrics; "0" turns it off.
	MetricsBindAddress string
	// MetricsSecure serves /metrics by HTTPS, to those whom the physical cluster allows to get it.
	MetricsSecure bool
	// HealthProbeBindAddress serves /healthz and /readyz.
	HealthProbeBindAddress string
	// QPS is how many requests per second the sync may send to each side in the long run. A negative value is no limit.
	QPS float32
	// Burst is how many requests the sync may send to each side at once; 0 is twice QPS. See EffectiveBurst.
	Burst int
	// LogLevel is the verbosity: 0 is what changes the world, higher is more detail.
	LogLevel int
}

// New returns the defaults.
func New() *Options {
	return &Options{
		KcpKubeconfig:          DefaultKcpKubeconfig,
		HeartbeatInterval:      DefaultHeartbeatInterval,
		QPS:                    DefaultQPS,
		MetricsBindAddress:     fmt.Sprintf(":%d", DefaultMetricsPort),
		MetricsSecure:          true,
		HealthProbeBindAddress: fmt.Sprintf(":%d", DefaultHealthPort),
	}
}

// AddFlags registers the options as flags, with the current values as defaults.
func (o *Options) AddFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.KcpKubeconfig, "kcp-kubeconfig", o.KcpKubeconfig, "Path of a kubeconfig whose current context leads to the workspace of the SyncTarget.")
	fs.StringVar(&o.Kubeconfig, "kubeconfig", o.Kubeconfig, "Path of a kubeconfig of the physical cluster. Empty inside a pod of that cluster.")
	fs.StringVar(&o.SyncTargetName, "sync-target-name", o.SyncTargetName, "Name of the SyncTarget that this syncer acts for.")
	fs.StringVar(&o.SyncTargetUID, "sync-target-uid", o.SyncTargetUID, "UID of the SyncTarget: one of the same name but another UID is ignored.")
	fs.StringVar(&o.Key, "sync-target-key", o.Key, "The SyncTarget's status.key.")
	fs.StringVar(&o.Namespace, "namespace", o.Namespace, "The syncer's own Namespace in the physical cluster, where its Lease lives.")
	fs.DurationVar(&o.HeartbeatInterval, "heartbeat-interval", o.HeartbeatInterval, "Mean time between two heartbeats.")
	fs.StringVar(&o.MetricsBindAddress, "metrics-bind-address", o.MetricsBindAddress, `Address that serves /metrics; "0" turns it off.`)
	fs.BoolVar(&o.MetricsSecure, "metrics-secure", o.MetricsSecure, "Serve /metrics by HTTPS, with a self-signed certificate, to those whom the physical cluster allows to get it.")
	fs.StringVar(&o.HealthProbeBindAddress, "health-probe-bind-address", o.HealthProbeBindAddress, "Address that serves /healthz and /readyz.")
	fs.Float32Var(&o.QPS, "qps", o.QPS, "Requests per second that the sync may send to each side in the long run, from 1 to 10000. Informers have a limit of their own: 50, or this one if it is lower. A negative value is no limit.")
	fs.IntVar(&o.Burst, "burst", o.Burst, "Requests that the sync may send to each side at once. 0 is twice --qps. Informers have a limit of their own: 100, or this one if it is lower.")
	fs.IntVar(&o.LogLevel, "log-level", o.LogLevel, "Verbosity of the log, from 0 to 7.")
}

// Args is the inverse of AddFlags: the command line that yields these options. Defaults are left out.
func (o *Options) Args() []string {
	d := New()
	var args []string
	add := func(flag, value, def string) {
		if value != def {
			args = append(args, "--"+flag+"="+value)
		}
	}
	add("kcp-kubeconfig", o.KcpKubeconfig, d.KcpKubeconfig)
	add("kubeconfig", o.Kubeconfig, d.Kubeconfig)
	add("sync-target-name", o.SyncTargetName, d.SyncTargetName)
	add("sync-target-uid", o.SyncTargetUID, d.SyncTargetUID)
	add("sync-target-key", o.Key, d.Key)
	add("namespace", o.Namespace, d.Namespace)
	add("heartbeat-interval", o.HeartbeatInterval.String(), d.HeartbeatInterval.String())
	add("metrics-bind-address", o.MetricsBindAddress, d.MetricsBindAddress)
	add("metrics-secure", strconv.FormatBool(o.MetricsSecure), strconv.FormatBool(d.MetricsSecure))
	add("health-probe-bind-address", o.HealthProbeBindAddress, d.HealthProbeBindAddress)
	add("qps", strconv.FormatFloat(float64(o.QPS), 'g', -1, 32), strconv.FormatFloat(float64(d.QPS), 'g', -1, 32))
	add("burst", strconv.Itoa(o.Burst), strconv.Itoa(d.Burst))
	add("log-level", strconv.Itoa(o.LogLevel), strconv.Itoa(d.LogLevel))
	return args
}

// EffectiveBurst is Burst, or twice QPS if Burst is 0.
func (o *Options) EffectiveBurst() int {
	if o.Burst == 0 && o.QPS > 0 {
		return int(burstPerQPS * o.QPS)
	}
	return o.Burst
}

// Validate names every option that is missing or out of range, in the order of the flags.
func (o *Options) Validate() error {
	var errs []error
	for _, required := range []struct{ flag, value string }{
		{"kcp-kubeconfig", o.KcpKubeconfig},
		{"sync-target-name", o.SyncTargetName},
		{"sync-target-uid", o.SyncTargetUID},
		{"sync-target-key", o.Key},
		{"namespace", o.Namespace},
	} {
		if required.value == "" {
			errs = append(errs, fmt.Errorf("--%s is required", required.flag))
		}
	}
	// NaN is neither a limit nor none.
	if isValid := o.QPS < 0 || o.QPS >= 1 && o.QPS <= MaxQPS; !isValid {
		errs = append(errs, fmt.Errorf("--qps must be between 1 and %d, or negative for no limit, not %g", MaxQPS, o.QPS))
	}
	if o.Burst < 0 {
		errs = append(errs, fmt.Errorf("--burst must be at least 1, or 0 for twice --qps, not %d", o.Burst))
	}
	if o.HeartbeatInterval < MinHeartbeatInterval || o.HeartbeatInterval > MaxHeartbeatInterval {
		errs = append(errs, fmt.Errorf("--heartbeat-interval must be between %s and %s, not %s", MinHeartbeatInterval, MaxHeartbeatInterval, o.HeartbeatInterval))
	}
	if o.LogLevel < 0 || o.LogLevel > MaxLogLevel {
		errs = append(errs, fmt.Errorf("--log-level must be between 0 and %d, not %d", MaxLogLevel, o.LogLevel))
	}
	return errors.Join(errs...)
}
