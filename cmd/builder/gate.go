package main

import (
	"github.com/spf13/cobra"

	"github.com/k8sp/cuda/pkg/nextkernel/fluo"
)

const gateHelp = `Have Flatcar's update operator wait for the next kernel's driver: on each node that it is
about to reboot, set the annotation

    ` + fluo.Annotation + `

to "true" once the node's agent (builder next --stay) says that the driver is proven, and
to "false: " and why until then. The operator waits for it where it is started with
--before-reboot-annotations=` + fluo.Annotation + `.

A node for which no agent is meant, as it has no GPU, is let go at once; and so is one with
the annotation ` + fluo.Override + `=true, which is yours to set.

It runs in a pod of its own, until it is stopped, with an account that may annotate nodes:
deploy/kubernetes/fluo.`

func newRebootGateCommand(d defaults) *cobra.Command {
	options := fluo.Options{Client: d.build.Cluster.Client}
	cmd := &cobra.Command{
		Use:   "reboot-gate",
		Short: "Have Flatcar's update operator wait for the next kernel's driver",
		Long:  gateHelp,
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return fluo.Gate(cmd.Context(), options) },
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&options.Namespace, "namespace", "cuda-driver", "`namespace` of the agents")
	flags.StringVar(&options.DaemonSet, "agents", "cuda-next-kernel", "`name` of their DaemonSet")
	flags.IntVar(&options.Port, "agents-port", 9711, "`port` at which they answer")
	return cmd
}
