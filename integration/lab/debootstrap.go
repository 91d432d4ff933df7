package lab

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/k8sp/cuda/internal/retry"
)

// keyring is where Debian's machines keep the keys that sign its archive.
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

//go:embed scripts/debootstrap.sh
var debootstrapScript string

// debootstrap makes the image debian:SUITE-slim from a Debian mirror, as the
// real one is: Debian's minimal base, without manuals and translations.
func (l *Lab) debootstrap(ctx context.Context, suite, image, label string) error {
	if os.Getuid() != 0 {
		return fmt.Errorf("no registry answers for %s, and to make it here with debootstrap needs root: run as root, or give Docker a registry", image)
	}
	from, err := findMirror()
	if err != nil {
		return err
	}
	program, err := l.part(ctx, "debootstrap", "from trixie", func(dir string) error {
		return fetchDebootstrap(ctx, from, dir)
	})
	if err != nil {
		return err
	}
	root, err := os.MkdirTemp(l.cache, ".debootstrap-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(root)
	cmd := exec.CommandContext(ctx, "sh", "-euc", debootstrapScript, "debootstrap",
		program, suite, root, from.main, from.security, image, label)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("debootstrap: %w\n%s", err, tail(string(out), 10))
	}
	return nil
}

// fetchDebootstrap unpacks the debootstrap of Debian trixie, which knows every
// suite that we want, into dir. Each file is checked against the one that
// names its digest, the first against Debian's signature.
func fetchDebootstrap(ctx context.Context, from mirror, dir string) error {
	suite := from.main + "/dists/trixie"
	release, err := signedRelease(ctx, suite+"/InRelease")
	if err != nil {
		return err
	}
	const index = "main/binary-amd64/Packages.gz"
	sum, err := releaseDigest(release, index)
	if err != nil {
		return err
	}
	packages, err := download(ctx, suite+"/"+index, sum)
	if err != nil {
		return err
	}
	plain, err := gzip.NewReader(bytes.NewReader(packages))
	if err != nil {
		return err
	}
	path, sum, err := findPackage(plain, "debootstrap")
	if err != nil {
		return err
	}
	deb, err := download(ctx, from.main+"/"+path, sum)
	if err != nil {
		return err
	}
	file := filepath.Join(dir, "debootstrap.deb")
	if err := os.WriteFile(file, deb, 0o644); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, "dpkg-deb", "--extract", file, dir).CombinedOutput(); err != nil {
		return fmt.Errorf("unpack debootstrap: %w\n%s", err, out)
	}
	return os.Remove(file)
}

func signedRelease(ctx context.Context, url string) ([]byte, error) {
	release, err := download(ctx, url, "")
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(keyring); errors.Is(err, os.ErrNotExist) {
		return release, nil // not Debian's machine: nothing to check it with
	}
	cmd := exec.CommandContext(ctx, "gpgv", "--keyring", keyring, "--output", "-")
	cmd.Stdin = bytes.NewReader(release)
	signed, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: the signature is not Debian's: %w", url, err)
	}
	return signed, nil
}

// releaseDigest is the SHA-256 of a file that a Release file names, in lines
// " HEX SIZE NAME" below "SHA256:".
func releaseDigest(release []byte, name string) (string, error) {
	_, sums, _ := strings.Cut(string(release), "\nSHA256:")
	for line := range strings.Lines(sums) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[2] == name {
			return fields[0], nil
		}
	}
	return "", fmt.Errorf("the mirror's Release file names no %s", name)
}

// findPackage is the path and SHA-256 of a package in a Packages index.
func findPackage(index io.Reader, name string) (path, sum string, err error) {
	lines := bufio.NewScanner(index)
	lines.Buffer(nil, 1<<20)
	found := false
	for lines.Scan() {
		switch key, value, _ := strings.Cut(lines.Text(), ": "); {
		case key == "Package":
			found = value == name
		case found && key == "Filename":
			path = value
		case found && key == "SHA256":
			sum = value
		}
	}
	if err := lines.Err(); err != nil {
		return "", "", err
	}
	if path == "" || sum == "" {
		return "", "", fmt.Errorf("the mirror has no package %s", name)
	}
	return path, sum, nil
}

// download returns what a URL holds, and only if that has the SHA-256 (any
// content where sum is empty). A connection that breaks off is tried again.
func download(ctx context.Context, url, sum string) (content []byte, err error) {
	err = retry.Loop{}.Do(ctx, func() (progress bool, err error) {
		content, err = downloadOnce(ctx, url, sum)
		return false, err
	})
	return content, err
}

func downloadOnce(ctx context.Context, url, sum string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, retry.Connection(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", url, response.Status)
	}
	content, err := io.ReadAll(io.LimitReader(response.Body, 256<<20))
	if err != nil {
		return nil, retry.Connection(fmt.Errorf("%s: %w", url, err))
	}
	got := sha256.Sum256(content)
	if sum != "" && hex.EncodeToString(got[:]) != sum {
		return nil, fmt.Errorf("%s: its SHA-256 is %x, not %s", url, got, sum)
	}
	return content, nil
}
