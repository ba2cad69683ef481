package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	apisv1alpha1 "github.com/kcp-dev/sdk/apis/apis/v1alpha1"
	apisv1alpha2 "github.com/kcp-dev/sdk/apis/apis/v1alpha2"
	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/synctarget/synctarget/pkg/installapi"
)

// commandInstallAPI is the only command of this program. Without a command it is the controller.
const commandInstallAPI = "install-api"

// refuseArguments refuses arguments beside the flags of the controller: a misspelled command must not start a controller.
func refuseArguments(args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("unknown command %q; the only one is %s, and it comes before all flags", args[0], commandInstallAPI)
	}
	return nil
}

// installAPI runs the command install-api with its arguments.
func installAPI(ctx context.Context, args []string, out io.Writer) error {
	flags := pflag.NewFlagSet(commandInstallAPI, pflag.ContinueOnError)
	flags.SetOutput(out)
	kubeconfig := flags.String("kubeconfig", "", "Path of a kubeconfig of an administrator of the provider workspace, to which its current context leads. Required.")
	switch err := flags.Parse(args); {
	case errors.Is(err, pflag.ErrHelp):
		return nil
	case err != nil:
		return err
	case flags.NArg() > 0:
		return fmt.Errorf("unexpected argument %q; %s takes only --kubeconfig", flags.Arg(0), commandInstallAPI)
	case *kubeconfig == "":
		return errors.New("--kubeconfig is required: a kubeconfig of an administrator of the provider workspace")
	}
	upstream, err := providerClient(*kubeconfig)
	if err != nil {
		return err
	}
	return installapi.Install(ctx, upstream, out)
}

// providerClient reads and writes the provider workspace.
func providerClient(kubeconfig string) (client.Client, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("reading --kubeconfig: %w", err)
	}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, apisv1alpha1.AddToScheme, apisv1alpha2.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	return client.New(config, client.Options{Scheme: scheme})
}
