package lab

import (
	"context"
	_ "embed"
	"path/filepath"
)

// DisksImage is Debian with what makes disks.
const DisksImage = "k8sp-cuda-disks"

var (
	//go:embed scripts/disks.Dockerfile
	disksDockerfile string
	//go:embed scripts/disks.sh
	disksScript string
)

// Disks makes disks as Flatcar's are, with the kernel of the host that [Lab.CoreOS] makes,
// and its modules, in USR-B: btrfs.raw, ext4.raw, and same.raw, whose two systems are one.
// Beside them is a busybox for machines.
func (l *Lab) Disks(ctx context.Context) (dir string, err error) {
	next, err := l.CoreOS(ctx)
	if err != nil {
		return "", err
	}
	return l.part(ctx, "disks", filepath.Base(next.Dir)+disksDockerfile+disksScript, func(dir string) error {
		if err := l.debianWith(ctx, "trixie", DisksImage, disksDockerfile); err != nil {
			return err
		}
		return container{image: DisksImage, script: disksScript, out: dir, mounts: []string{filepath.Join(next.Dir, "lib/modules") + ":/modules"}}.run(ctx)
	})
}
