package live

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/internal/decompress"
)

// maxModule bounds what is kept of a module in memory.
const maxModule = 2 << 30

// Take copies a module into memory, where it is sealed, and returns it if its
// digest (64 hexadecimal digits) is the one that is wanted. The share may be
// written to by others at any time: what the kernel is given must be what was
// verified.
func Take(path, digest string) (*os.File, error) {
	from, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer from.Close()
	module, got, err := inMemory(path, from)
	if err != nil {
		return nil, err
	}
	if got != digest {
		return nil, errors.Join(fmt.Errorf("%s has digest %s and was published with %s", path, got, digest), module.Close())
	}
	return module, nil
}

// unpack copies a module of the kernel's own into memory, without whatever
// compression it has.
func unpack(file io.Reader, name string) (*os.File, error) {
	inside, _, err := decompress.Reader(bufio.NewReader(file))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	defer inside.Close()
	module, _, err := inMemory(name, inside)
	return module, err
}

// inMemory is a file of what is left in from that cannot be changed any more,
// and its SHA-256.
func inMemory(name string, from io.Reader) (module *os.File, digest string, err error) {
	fd, err := unix.MemfdCreate("module", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, "", fmt.Errorf("memfd_create: %w", err)
	}
	module = os.NewFile(uintptr(fd), name)
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(module, sum), io.LimitReader(from, maxModule+1))
	if err == nil && n > maxModule {
		err = fmt.Errorf("larger than %d MiB", maxModule>>20)
	}
	if err == nil {
		_, err = unix.FcntlInt(module.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL)
	}
	if err != nil {
		return nil, "", errors.Join(fmt.Errorf("%s: %w", name, err), module.Close())
	}
	return module, hex.EncodeToString(sum.Sum(nil)), nil
}
