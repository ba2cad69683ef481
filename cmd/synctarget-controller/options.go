package main

import (
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"go.uber.org/zap/zapcore"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/rollout"
	syncer "github.com/synctarget/synctarget/pkg/syncer/options"
)

// maxVerbosity is the highest level of the log that shows no Secret: from 8 on, client-go logs bodies.
const maxVerbosity = 7

type options struct {
	kubeconfig        string
	endpointSlice     string
	leaderElect       bool
	leaderElectNS     string
	metricsAddress    string
	metricsSecure     bool
	metricsCertDir    string
	healthAddress     string
	syncerImage       string
	kcpExternalURL    string
	kcpExternalCAFile string
	heartbeatInterval time.Duration
	threshold         time.Duration
	statusInterval    time.Duration
	tokenRotation     time.Duration
	deleteDeadline    time.Duration
	maxTargets        int
	maxUnavailable    string
	workers           int
	allowCIDRs        []string
	denyCIDRs         []string
	version           bool
	zap               zap.Options

	// Completed from the flags and the environment.

	// kcp leads to the workspace of the APIExport.
	kcp *rest.Config
	// kcpURL is where syncers find kcp: no path, no trailing slash.
	kcpURL string
	kcpCA  []byte
	// hosting is the cluster that the controller runs in: leader election, token reviews. Nil outside a cluster.
	hosting *rest.Config
	allow   []netip.Prefix
	deny    []netip.Prefix
	// denyByDefault are the addresses of the hosting cluster that the environment of a Pod tells.
	denyByDefault []netip.Prefix
	proxy         agent.Proxy
	// rolloutMax is --rollout-max-unavailable.
	rolloutMax intstr.IntOrString
}

func newOptions() *options {
	return &options{
		endpointSlice:  workloadv1alpha1.GroupName,
		metricsAddress: ":8443",
		metricsSecure:  true,
		healthAddress:  ":8081",
		syncerImage:    "ghcr.io/synctarget/syncer:" + version,
		threshold:      5 * time.Minute,

		heartbeatInterval: syncer.DefaultHeartbeatInterval,
		statusInterval:    time.Minute,
		tokenRotation:     30 * 24 * time.Hour,
		deleteDeadline:    15 * time.Minute,
		maxTargets:        100,
		maxUnavailable:    "10%",
		workers:           100,
	}
}

func (o *options) addFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.kubeconfig, "kubeconfig", o.kubeconfig, "Path of a kubeconfig whose current context leads to the kcp workspace that holds the APIExport. Required.")
	fs.StringVar(&o.endpointSlice, "endpointslice", o.endpointSlice, "Name of the APIExportEndpointSlice to serve. Of several controllers each needs one of its own, and no two of these may list the same shard.")
	fs.BoolVar(&o.leaderElect, "leader-elect", o.leaderElect, "Elect a leader among the replicas with this --endpointslice, by a Lease in the hosting cluster.")
	fs.StringVar(&o.leaderElectNS, "leader-election-namespace", o.leaderElectNS, "Namespace of the Lease. Default: the pod's own.")
	fs.StringVar(&o.metricsAddress, "metrics-bind-address", o.metricsAddress, `Address that serves /metrics; "0" turns it off.`)
	fs.BoolVar(&o.metricsSecure, "metrics-secure", o.metricsSecure, "Serve /metrics by HTTPS, to those whom the hosting cluster authorizes.")
	fs.StringVar(&o.metricsCertDir, "metrics-cert-dir", o.metricsCertDir, "Directory with tls.crt and tls.key, by which /metrics is served; they are read again when they change. Default: a self-signed certificate.")
	fs.StringVar(&o.healthAddress, "health-probe-bind-address", o.healthAddress, "Address that serves /healthz and /readyz.")
	fs.StringVar(&o.syncerImage, "syncer-image", o.syncerImage, "Image of the syncer, where a SyncTarget names no other.")
	fs.StringVar(&o.kcpExternalURL, "kcp-external-url", o.kcpExternalURL, "URL at which syncers reach kcp. Default: scheme and host of the kubeconfig's server.")
	fs.StringVar(&o.kcpExternalCAFile, "kcp-external-ca-file", o.kcpExternalCAFile, "CA bundle by which syncers verify kcp. Default: the kubeconfig's, where --kcp-external-url is not given.")
	fs.DurationVar(&o.heartbeatInterval, "syncer-heartbeat-interval", o.heartbeatInterval, "Mean time between two heartbeats of a syncer, 1s to 2m. A change rolls out all syncers that the service installed.")
	fs.DurationVar(&o.threshold, "heartbeat-threshold", o.threshold, "How long a syncer may send no heartbeat before its SyncTarget is not Ready. At least twice --syncer-heartbeat-interval.")
	fs.DurationVar(&o.statusInterval, "heartbeat-status-interval", o.statusInterval, "How often status.lastHeartbeatTime of a SyncTarget is written while its syncer renews a Lease, beside each change of the condition Ready. At least 1s. A syncer without a Lease writes it with each heartbeat.")
	fs.DurationVar(&o.tokenRotation, "syncer-token-rotation-interval", o.tokenRotation, "How long a syncer uses its token for kcp until another is issued and rolled out; it happens within the last tenth of it. At least 1h; 0: tokens are replaced only on demand.")
	fs.DurationVar(&o.deleteDeadline, "delete-deadline", o.deleteDeadline, "How long a deletion is retried before the controller skips what it cannot remove. For half of it, Namespaces are moved from a SyncTarget that is being deleted to others that fit.")
	fs.IntVar(&o.maxTargets, "max-targets-per-workspace", o.maxTargets, "How many SyncTargets of a workspace the controller connects to, the oldest first; 0 for any number. Those that are connected already stay so. SyncTargets without kubeconfigSecretRef do not count.")
	fs.StringVar(&o.maxUnavailable, "rollout-max-unavailable", o.maxUnavailable, "How many of the SyncTargets that are Ready get another syncer image, or other settings of this controller, at a time: a number, or a percentage of them, rounded down; at least one. The rollout halts while one of them does not become Ready within twice --heartbeat-threshold.")
	fs.IntVar(&o.workers, "workers", o.workers, "How many SyncTargets are reconciled at once.")
	fs.StringSliceVar(&o.allowCIDRs, "allow-pcluster-cidr", o.allowCIDRs, "Address ranges of physical clusters that are dialled although they are loopback, link-local, unspecified or multicast, or belong to the hosting cluster.")
	fs.StringSliceVar(&o.denyCIDRs, "deny-pcluster-cidr", o.denyCIDRs, "Address ranges that are never dialled, even if --allow-pcluster-cidr contains them. In a Pod, the addresses in KUBERNETES_SERVICE_HOST, POD_IPS and HOST_IP are not dialled either, unless --allow-pcluster-cidr contains them.")
	fs.BoolVar(&o.version, "version", o.version, "Print the version and exit.")
	zapFlags := flag.NewFlagSet("zap", flag.ContinueOnError)
	o.zap.BindFlags(zapFlags)
	fs.AddGoFlagSet(zapFlags)
}

// complete checks the flags and reads what they point to.
func (o *options) complete() error {
	var errs []error
	if o.kubeconfig == "" {
		errs = append(errs, errors.New("--kubeconfig is required: a kubeconfig of the kcp workspace that holds the APIExport"))
	}
	if o.workers < 1 {
		errs = append(errs, fmt.Errorf("--workers must be at least 1, not %d", o.workers))
	}
	if o.maxTargets < 0 {
		errs = append(errs, fmt.Errorf("--max-targets-per-workspace must not be negative, not %d", o.maxTargets))
	}
	errs = append(errs, o.checkDurations()...)
	if o.zap.Level != nil && o.zap.Level.Enabled(zapcore.Level(-maxVerbosity-1)) {
		errs = append(errs, fmt.Errorf("--zap-log-level must be at most %d: above it, Kubernetes' client logs what it sends and receives, Secrets too", maxVerbosity))
	}
	var err error
	if o.rolloutMax, err = rollout.Parse(o.maxUnavailable); err != nil {
		errs = append(errs, fmt.Errorf("--rollout-max-unavailable: %w", err))
	}
	errs = append(errs, o.completeRanges(), o.checkMetricsCertificate())
	if err := errors.Join(errs...); err != nil {
		return err
	}
	o.proxy, o.denyByDefault = proxyFor(os.Getenv), ownAddresses(os.Getenv)
	if err := o.completeKcp(); err != nil {
		return err
	}
	return o.completeHosting()
}

func (o *options) checkDurations() (errs []error) {
	if o.threshold <= 0 {
		errs = append(errs, fmt.Errorf("--heartbeat-threshold must be positive, not %s", o.threshold))
	}
	if o.heartbeatInterval < syncer.MinHeartbeatInterval || o.heartbeatInterval > syncer.MaxHeartbeatInterval {
		errs = append(errs, fmt.Errorf("--syncer-heartbeat-interval must be between %s and %s, not %s", syncer.MinHeartbeatInterval, syncer.MaxHeartbeatInterval, o.heartbeatInterval))
	} else if o.threshold > 0 && o.threshold < 2*o.heartbeatInterval {
		errs = append(errs, fmt.Errorf("--heartbeat-threshold must be at least twice --syncer-heartbeat-interval, which is %s, not %s, so that one late heartbeat does not make a SyncTarget not Ready", o.heartbeatInterval, o.threshold))
	}
	if o.statusInterval < time.Second {
		errs = append(errs, fmt.Errorf("--heartbeat-status-interval must be at least 1s, not %s", o.statusInterval))
	}
	if o.tokenRotation != 0 && o.tokenRotation < time.Hour {
		errs = append(errs, fmt.Errorf("--syncer-token-rotation-interval must be 0 or at least 1h, not %s", o.tokenRotation))
	}
	if o.deleteDeadline <= 0 {
		errs = append(errs, fmt.Errorf("--delete-deadline must be positive, not %s", o.deleteDeadline))
	}
	return errs
}

// checkMetricsCertificate reads the certificate of /metrics: without a usable one the metrics server would silently make
// its own.
func (o *options) checkMetricsCertificate() error {
	if o.metricsCertDir == "" {
		return nil
	}
	if !o.metricsSecure {
		return errors.New("--metrics-cert-dir needs --metrics-secure")
	}
	if _, err := tls.LoadX509KeyPair(filepath.Join(o.metricsCertDir, "tls.crt"), filepath.Join(o.metricsCertDir, "tls.key")); err != nil {
		return fmt.Errorf("reading tls.crt and tls.key in --metrics-cert-dir: %w", err)
	}
	return nil
}

// completeRanges parses the address ranges of physical clusters.
func (o *options) completeRanges() error {
	var allowErr, denyErr error
	o.allow, allowErr = parseRanges("--allow-pcluster-cidr", o.allowCIDRs)
	o.deny, denyErr = parseRanges("--deny-pcluster-cidr", o.denyCIDRs)
	return errors.Join(allowErr, denyErr)
}

func parseRanges(flag string, cidrs []string) (prefixes []netip.Prefix, err error) {
	var errs []error
	for _, cidr := range cidrs {
		prefix, err := netip.ParsePrefix(cidr)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("%s: %w", flag, err))
		case prefix.Addr().Is4In6():
			errs = append(errs, fmt.Errorf("%s: %q contains IPv4 addresses; write it as an IPv4 range", flag, cidr))
		default:
			prefixes = append(prefixes, prefix)
		}
	}
	return prefixes, errors.Join(errs...)
}

// ownAddresses are the addresses of the hosting cluster that a Pod can know from its environment: of the Service of the
// API server, which the kubelet sets, and of the Pod and its node, which a manifest sets. A Pod does not see the ranges
// that they are from. What is not an address, such as a host name, is ignored.
func ownAddresses(getenv func(string) string) (own []netip.Prefix) {
	for _, name := range []string{"KUBERNETES_SERVICE_HOST", "POD_IPS", "HOST_IP"} {
		for address := range strings.SplitSeq(getenv(name), ",") {
			if addr, err := netip.ParseAddr(strings.TrimSpace(address)); err == nil {
				addr = addr.WithZone("").Unmap()
				own = append(own, netip.PrefixFrom(addr, addr.BitLen()))
			}
		}
	}
	return own
}

// proxyFor is what syncers get of the controller's own proxy settings: never credentials.
func proxyFor(getenv func(string) string) agent.Proxy {
	public := func(name string) string {
		proxy, err := url.Parse(getenv(name))
		if err != nil || proxy.User != nil {
			return ""
		}
		return getenv(name)
	}
	return agent.Proxy{HTTPProxy: public("HTTP_PROXY"), HTTPSProxy: public("HTTPS_PROXY"), NoProxy: getenv("NO_PROXY")}
}

// completeKcpURL settles where syncers reach kcp, and by which CA they know it.
func (o *options) completeKcpURL() error {
	if o.kcpExternalURL != "" {
		external, err := url.Parse(o.kcpExternalURL)
		if err != nil || external.Scheme != "https" || external.Host == "" {
			return fmt.Errorf("--kcp-external-url must be an https URL, not %q", o.kcpExternalURL)
		}
		o.kcpURL = strings.TrimSuffix(o.kcpExternalURL, "/")
		return nil
	}
	server, err := url.Parse(o.kcp.Host)
	if err != nil {
		return fmt.Errorf("parsing the server in --kubeconfig: %w", err)
	}
	if server.Scheme != "https" {
		return fmt.Errorf("the server in --kubeconfig must be an https URL, not %q, or --kcp-external-url say where syncers reach kcp", o.kcp.Host)
	}
	o.kcpURL = server.Scheme + "://" + server.Host
	if err := rest.LoadTLSFiles(o.kcp); err != nil {
		return fmt.Errorf("reading the files that --kubeconfig names: %w", err)
	}
	o.kcpCA = o.kcp.CAData
	return nil
}

func (o *options) completeKcp() error {
	var err error
	if o.kcp, err = clientcmd.BuildConfigFromFlags("", o.kubeconfig); err != nil {
		return fmt.Errorf("reading --kubeconfig: %w", err)
	}
	// client-go's default is 5 requests per second; kcp's own flow control is the limit here.
	o.kcp.QPS = -1

	if err := o.completeKcpURL(); err != nil {
		return err
	}
	if o.kcpExternalCAFile != "" {
		if o.kcpCA, err = os.ReadFile(o.kcpExternalCAFile); err != nil {
			return fmt.Errorf("reading --kcp-external-ca-file: %w", err)
		}
	}
	return nil
}

// completeHosting finds the cluster that the controller runs in, where a flag asks for it.
func (o *options) completeHosting() error {
	secureMetrics := o.metricsSecure && o.metricsAddress != "0"
	if !o.leaderElect && !secureMetrics {
		return nil
	}
	var err error
	o.hosting, err = rest.InClusterConfig()
	switch {
	case err == nil:
		return nil
	case !errors.Is(err, rest.ErrNotInCluster):
		return fmt.Errorf("reading the hosting cluster's credentials: %w", err)
	case o.leaderElect:
		return errors.New("--leader-elect needs the hosting cluster: run as a pod, or with one replica and without the flag")
	default:
		return errors.New("--metrics-secure needs the hosting cluster to review tokens: run as a pod, or give --metrics-secure=false")
	}
}
