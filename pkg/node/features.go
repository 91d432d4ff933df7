package node

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/internal/atomicfile"
)

// featureDir is where Node Feature Discovery's worker looks for files of features, of which
// it makes labels of the node (its docs, "Local feature source"): a line NAME=VALUE each,
// with its own prefix before a name that has none. Who writes there needs no account of
// the cluster's.
const featureDir = "etc/kubernetes/node-feature-discovery/features.d"

// featureFile is builder's file there.
const featureFile = "cuda-driver"

// tellFeatures says how the driver is to Node Feature Discovery, where its folder is
// mounted. That it cannot is only said: the driver is there, or is not, all the same.
func (l *loader) tellFeatures(ctx context.Context, s Status) {
	var text strings.Builder
	if l.Stay {
		text.WriteString(expiry())
	}
	for _, f := range [][2]string{{"state", s.State}, {"version", s.Driver}, {"release", s.Release}, {"form", s.Form}} {
		if value := labelValue(f[1]); value != "" {
			text.WriteString("cuda-driver." + f[0] + "=" + value + "\n")
		}
	}
	l.changeFeatures(ctx, func(file string) error { return atomicfile.WriteFile(file, []byte(text.String()), 0o644) })
}

// The labels of a host on which somebody stays count for as long after that; they are renewed
// three times as often. So they do not outlive a reboot into a kernel for which there is no
// driver.
const featuresCount = 15 * time.Minute

const expiryMark = "# +expiry-time="

// expiry is the line by which Node Feature Discovery (0.15) passes over what follows, from a
// time on.
func expiry() string {
	return expiryMark + time.Now().Add(featuresCount).UTC().Format(time.RFC3339) + "\n"
}

// renewFeatures keeps the labels of a host counting, until the context ends.
func (l *loader) renewFeatures(ctx context.Context) {
	tick := time.NewTicker(featuresCount / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			l.changeFeatures(ctx, renew)
		}
	}
}

// renew has what is in a file, if there is one, count for longer.
func renew(file string) error {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	rest := string(text)
	if strings.HasPrefix(rest, expiryMark) {
		_, rest, _ = strings.Cut(rest, "\n")
	}
	return atomicfile.WriteFile(file, []byte(expiry()+rest), 0o644)
}

// forgetFeatures takes the labels of a driver that is gone.
func (l *loader) forgetFeatures(ctx context.Context) {
	l.changeFeatures(ctx, func(file string) error {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	})
}

// labelled says whether anybody labels the node.
func (l *loader) labelled() bool { return l.access.isMount(filepath.Join(l.own.Dir(), featureDir)) }

func (l *loader) changeFeatures(ctx context.Context, change func(file string) error) {
	if !l.labelled() {
		return
	}
	l.labels.Lock() // what one leaves half made is not swept up by another
	defer l.labels.Unlock()
	file := filepath.Join(l.own.Dir(), featureDir, featureFile)
	l.sweep(ctx, func() error { return atomicfile.Sweep(file) })
	if err := change(file); err != nil {
		zerolog.Ctx(ctx).Warn().Err(err).Msg("Node Feature Discovery is not told of the driver, so the node's labels may be of another state")
	}
}

// unlabelled is what a label's value cannot have in it, or at its ends.
var unlabelled = regexp.MustCompile(`[^A-Za-z0-9._-]`)

// labelValue is a text as a label may have it: 63 characters (Kubernetes' syntax of labels).
func labelValue(text string) string {
	text = unlabelled.ReplaceAllString(text, "_")
	return strings.Trim(text[:min(len(text), 63)], "._-")
}
