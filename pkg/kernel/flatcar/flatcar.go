// Package flatcar finds the kernel of a Flatcar Container Linux release by the
// release's version, so that a build needs no node that runs it.
//
// Flatcar publishes each release in a folder of its channel's server,
//
//	https://stable.release.flatcar-linux.net/amd64-usr/4593.2.5/
//
// among it the kernel that its disk images boot, once more for booting by network
// (flatcar_production_pxe.vmlinuz), the digests of that in a file beside it, and the
// release's names in version.txt. The folder "current" is a channel's newest.
package flatcar

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/k8sp/cuda/internal/download"
	"github.com/k8sp/cuda/pkg/stage"
)

// Server is where Flatcar publishes its releases; {channel} stands for a channel's name.
const Server = "https://{channel}.release.flatcar-linux.net"

// channels are Flatcar's, each at the place of the number that a version of it has in
// its middle: 4593.2.5 is stable.
var channels = []string{"alpha", "beta", "stable", "lts"}

// Release is a release of Flatcar.
type Release struct {
	// Version is the release's, "4593.2.5".
	Version string
	// Channel is where it is published: alpha, beta, stable or lts.
	Channel string
}

// Options say where releases are published.
type Options struct {
	// Server is the address of one laid out as Flatcar's; empty is [Server]. {channel}
	// in it stands for a channel's name.
	Server string
	// Offline refuses to ask.
	Offline bool
	// Pause is how long to wait before the second try of what failed for the moment;
	// zero means a second.
	Pause time.Duration
}

// version has the channel's number in its middle; numbers of 2018 and older, when the
// releases were CoreOS's, are no less than these.
var version = regexp.MustCompile(`^[1-9][0-9]{0,5}\.([0-3])\.[0-9]{1,5}$`)

// Parse reads what a user calls a release: its version, or a channel, for which it
// returns a Release without a version, which [Options.Find] looks up.
func Parse(text string) (Release, error) {
	if slices.Contains(channels, text) {
		return Release{Channel: text}, nil
	}
	if found := version.FindStringSubmatch(text); found != nil {
		return Release{Version: text, Channel: channels[found[1][0]-'0']}, nil
	}
	return Release{}, stage.New(stage.Usage, fmt.Sprintf("%q is no release of Flatcar", text),
		"give its version, as 4593.2.5, or a channel for its newest: "+strings.Join(channels, ", ")+"; a capture is a host-root")
}

// Kernel is a release's kernel.
type Kernel struct {
	Release
	// URL is the address of its image, and SHA512 that file's digest, in hexadecimal.
	URL, SHA512 string
}

// Bounds of what is read whole, in bytes: both files have some hundred.
const maxText = 64 << 10

// imageFile is the kernel that is booted by network, which is that of the disk images.
const imageFile = "flatcar_production_pxe.vmlinuz"

// Find looks up a release's kernel. It is for x86_64. Errors are of the stage detect, or
// the context's.
func (o Options) Find(ctx context.Context, r Release) (Kernel, error) {
	if o.Offline {
		return Kernel{}, stage.New(stage.Detect, "--offline forbids to ask which kernel the Flatcar release has", "name its image's file with --kernel-image")
	}
	if r.Version == "" {
		text, err := o.text(ctx, r, "current/version.txt")
		if err != nil {
			return Kernel{}, err
		}
		named := variable(text, "FLATCAR_VERSION")
		found, err := Parse(named)
		if err != nil || found.Channel != r.Channel {
			return Kernel{}, stage.New(stage.Detect, fmt.Sprintf("the newest release of Flatcar's channel %s cannot be told: its version.txt names %q", r.Channel, named),
				"name the release by its version")
		}
		r = found
	}
	sums, err := o.text(ctx, r, r.Version+"/"+imageFile+".DIGESTS")
	if err != nil {
		return Kernel{}, err
	}
	k := Kernel{Release: r, URL: o.url(r, r.Version+"/"+imageFile), SHA512: digest(sums, imageFile)}
	if k.SHA512 == "" {
		return Kernel{}, stage.New(stage.Detect, fmt.Sprintf("%s.DIGESTS has no SHA-512 of the kernel", download.Shown(k.URL)),
			"fetch the kernel by hand, and name its file with --kernel-image")
	}
	return k, nil
}

func (o Options) url(r Release, path string) string {
	server := o.Server
	if server == "" {
		server = Server
	}
	return strings.TrimRight(strings.ReplaceAll(server, "{channel}", r.Channel), "/") + "/amd64-usr/" + path
}

// text is a small file of a channel.
func (o Options) text(ctx context.Context, r Release, path string) (string, error) {
	url := o.url(r, path)
	text, err := download.Text(ctx, download.Options{URL: url, Limit: maxText, Pause: o.Pause})
	var status *download.StatusError
	switch {
	case errors.As(err, &status) && status.Code == http.StatusNotFound && r.Version != "":
		return "", stage.New(stage.Detect, fmt.Sprintf("Flatcar has published no release %s in the channel %s: %v", r.Version, r.Channel, err),
			"look the version up at https://www.flatcar.org/releases; what is no longer there has to be named by its kernel's file with --kernel-image")
	case err != nil:
		return "", stage.Wrap(stage.Detect, err, "it cannot be told which kernel the Flatcar release has", "run again when the server answers, name another with --flatcar-server, or name the kernel's file with --kernel-image")
	}
	return text, nil
}

// variable is the value of one in a file of NAME=VALUE lines, and empty where it is not there.
func variable(text, name string) string {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+"="); ok {
			return strings.Trim(value, `"'`)
		}
	}
	return ""
}

var sum = regexp.MustCompile(`(?m)^([0-9a-f]{128})[ \t]+\*?(\S+)\s*$`)

// digest is the SHA-512 of a file in a list of digests of several kinds, one a line with
// the file's name, as sha512sum(1) writes it. Empty is none.
func digest(sums, file string) string {
	for _, found := range sum.FindAllStringSubmatch(sums, -1) {
		if found[2] == file {
			return found[1]
		}
	}
	return ""
}

// OSRelease is what /etc/os-release of the release says of who it is.
func (r Release) OSRelease() string {
	return fmt.Sprintf("NAME=\"Flatcar Container Linux by Kinvolk\"\nID=flatcar\nID_LIKE=coreos\nVERSION=%[1]s\nVERSION_ID=%[1]s\n", r.Version)
}
