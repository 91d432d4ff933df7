package cuda

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/internal/makeself"
	"github.com/k8sp/cuda/internal/untar"
	"github.com/k8sp/cuda/pkg/stage"
)

// explain turns an error met while unpacking a package into one that says what
// to do about it.
func explain(p Package, err error) error {
	var checksum *makeself.ChecksumError
	var refused *untar.Error
	var not mismatch
	reason, hint := "cannot be used", againHint
	switch {
	case errors.As(err, &checksum):
		reason = "was cut short or altered since NVIDIA made it"
	case errors.As(err, &refused):
		reason = "holds what no driver package of NVIDIA's does, so nothing of it is used"
	case errors.As(err, &not):
		reason = "is not what its name says"
		hint = "give it its true name, or put the right package in its place"
	case errors.Is(err, makeself.ErrFormat):
		reason = "is not a driver package of NVIDIA's"
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, gzip.ErrChecksum):
		reason = "was cut short or altered since NVIDIA made it"
	case outOfSpace(err):
		reason, hint = "cannot be unpacked", spaceHint
	}
	if p.Fetched && hint != spaceHint {
		hint = "run again: it was removed, and is downloaded anew"
	}
	return stage.Wrap(stage.Driver, err, fmt.Sprintf("the driver package %s %s", p.Name(), reason), hint)
}

// outOfSpace says whether an error is about where the package is unpacked to.
func outOfSpace(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EROFS)
}
