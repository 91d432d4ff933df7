package main

import (
	_ "embed"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

//go:embed VERSION
var versionFile string

// sourceDigest is sha256:HEX over the source that the binary was built from; the Dockerfile sets it by -ldflags -X. Git's own answer is not to
// be had there, because .git is not part of the image's context.
var sourceDigest string

// version identifies this builder in the log, in the manifest and in what a
// rerun compares: "0.1.0" and, where known, "+" and the source's digest.
func version() string {
	v := strings.TrimSpace(versionFile)
	if digest := strings.TrimPrefix(sourceDigest, "sha256:"); digest != "" {
		v += "+" + digest[:min(12, len(digest))]
	}
	return v
}

func newVersionCommand(io streams, d defaults) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of builder and the digest of its source",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d.leave(cmd.Context(), "")
			_, err := fmt.Fprintln(io.out, "builder version", version()) // as cobra's --version has it
			return err
		},
	}
}
