package cuda

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/internal/download"
	"github.com/k8sp/cuda/internal/retry"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/stage"
)

// Server is where NVIDIA publishes driver packages.
const Server = "https://us.download.nvidia.com"

// maxPackage bounds a package, in bytes; one of 2026 has 463 MB.
const maxPackage = 2 << 30

// FetchOptions say where a driver package comes from and goes to. Only Dir is
// required.
type FetchOptions struct {
	// Dir is the folder that receives the package; it is made where it is not
	// there, and nothing else of it is touched.
	Dir string
	// BaseURL is that of NVIDIA's server, of a mirror with the same folders, or
	// of a folder that holds the packages themselves; empty is [Server].
	BaseURL string
	// SHA256 is what the package's digest must be, in hexadecimal; empty takes
	// whatever the server has.
	SHA256 string
	// Known says that SHA256 is what builder itself knows of this driver.
	Known bool
	// Served is what a server says of it, where SHA256 is only that.
	Served Served
	// Pause and Space are download.Options's.
	Pause time.Duration
	Space func(bytes int64) error
}

// folders are those of NVIDIA's server that have packages for an architecture,
// each in a folder of its version. Which of them has a version depends on the
// line that it belongs to: those for data centers may be in tesla alone.
var folders = map[kernel.Arch][]string{
	kernel.X86_64:  {"XFree86/Linux-x86_64", "tesla"},
	kernel.AArch64: {"XFree86/aarch64", "XFree86/Linux-aarch64", "tesla"},
}

// Fetched is the package that [Fetch] leaves in a folder, and whether it is
// there.
func Fetched(dir string, arch kernel.Arch, version string) (Package, bool) {
	p := Package{Path: filepath.Join(dir, runFileName(arch, version)), Kind: RunFile, Version: version, Arch: arch, Fetched: true}
	info, err := beneath.Lstat(p.Path)
	return p, err == nil && info.Mode().IsRegular()
}

// Fetch downloads the package of a driver into o.Dir, in place of one that is
// there, and returns it with its digest, sha256:HEX. What a broken download has
// brought serves the next call. Errors are of the driver stage, Space's, or the
// context's.
func Fetch(ctx context.Context, arch kernel.Arch, version string, o FetchOptions) (p Package, digest string, err error) {
	addresses, err := o.addresses(arch, version)
	if err != nil {
		return Package{}, "", err
	}
	if err := beneath.MkdirAll(o.Dir, 0o755); err != nil {
		return Package{}, "", stage.Wrap(stage.Driver, err, "cannot make a folder to download the driver into", spaceHint)
	}
	p, _ = Fetched(o.Dir, arch, version)
	var refused []string
	for _, address := range addresses {
		zerolog.Ctx(ctx).Info().Str("from", download.Shown(address)).Msg("downloading the driver package")
		digest, err := download.File(ctx, p.Path, download.Options{
			URL: address, SHA256: o.SHA256, Limit: maxPackage, Pause: o.Pause, Space: o.Space,
		})
		switch {
		case err == nil:
			return p, "sha256:" + digest, nil
		case !isAbsent(err):
			return Package{}, "", o.explain(version, errors.Join(err, o.forget(arch, version, err)))
		}
		refused = append(refused, err.Error())
	}
	return Package{}, "", nowhere(arch, version, refused)
}

// nowhere is the error for a driver that a server has at none of its places, by what it
// answered for each.
func nowhere(arch kernel.Arch, version string, refused []string) error {
	return stage.New(stage.Driver, fmt.Sprintf("driver %s for %s is not to be had: %s", version, arch, strings.Join(refused, ", ")),
		"check the version at https://www.nvidia.com/en-us/drivers/unix/, or name another server with --driver-base-url")
}

// Offered asks where [Fetch] would look whether the package is there, and downloads nothing.
// That it is not is the error that Fetch has for that; a server that does not say is taken
// to have it.
func Offered(ctx context.Context, arch kernel.Arch, version string, o FetchOptions) error {
	addresses, err := o.addresses(arch, version)
	if err != nil {
		return err
	}
	var refused []string
	for _, address := range addresses {
		err := download.Exists(ctx, download.Options{URL: address, Pause: o.Pause})
		if !isAbsent(err) {
			return ctx.Err()
		}
		refused = append(refused, err.Error())
	}
	return nowhere(arch, version, refused)
}

// Served is what a server says that the digest of a driver's package is.
type Served struct {
	// SHA256 is in hexadecimal; empty where the server names none.
	SHA256 string
	// From is the package's address, as [download.Shown] has it.
	From string
}

// maxSums bounds a file with a digest, in bytes: sha256sum's line has 64 digits and a
// name.
const maxSums = 4 << 10

// ServedDigest asks where [Fetch] would look for the .run.sha256sum that NVIDIA's
// server has beside each package, of one line as sha256sum(1) writes it. What is
// served is kept in o.Dir beside the package, if keep says so, and is the next call's
// answer of the same server. Errors are of the driver stage, or the context's; that a
// server has no such file is none.
func ServedDigest(ctx context.Context, arch kernel.Arch, version string, o FetchOptions, keep bool) (Served, error) {
	name := runFileName(arch, version)
	addresses, err := o.addresses(arch, version)
	if err != nil {
		return Served{}, err
	}
	kept := KeptDigest(o.Dir, arch, version)
	if slices.ContainsFunc(addresses, func(address string) bool { return download.Shown(address) == kept.From }) {
		return kept, nil
	}
	for _, address := range addresses {
		sums := sumsOf(address)
		text, err := download.Text(ctx, download.Options{URL: sums, Limit: maxSums, Pause: o.Pause})
		if isAbsent(err) {
			continue
		}
		if err != nil {
			return Served{}, o.explain(version, err)
		}
		digest, file, ok := parseSums(text)
		if !ok || file != name {
			zerolog.Ctx(ctx).Warn().Str("from", download.Shown(sums)).Msg("this is no digest of the driver's package, and is passed over")
			continue
		}
		served := Served{digest, download.Shown(address)}
		if !keep {
			return served, nil
		}
		if err := beneath.MkdirAll(o.Dir, 0o755); err != nil {
			return Served{}, stage.Wrap(stage.Driver, err, "cannot make a folder to download the driver into", spaceHint)
		}
		return served, stage.Wrap(stage.Driver, beneath.WriteFile(keptAt(o.Dir, arch, version), []byte(served.SHA256+"  "+served.From+"\n"), 0o644),
			"cannot keep the digest that the server has for the driver", spaceHint)
	}
	return Served{}, nil
}

// forget drops what a server said of a digest, after the error that the package is
// another: it may have been corrected since.
func (o FetchOptions) forget(arch kernel.Arch, version string, err error) error {
	if o.Served.SHA256 == "" || !errors.As(err, new(*download.DigestError)) {
		return nil
	}
	if err := beneath.Remove(keptAt(o.Dir, arch, version)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// keptAt is the file in which [ServedDigest] keeps what was served.
func keptAt(dir string, arch kernel.Arch, version string) string {
	return filepath.Join(dir, runFileName(arch, version)+SumsSuffix)
}

// KeptDigest is what an earlier [ServedDigest] has kept in a folder, of whatever
// server; the zero value where there is none.
func KeptDigest(dir string, arch kernel.Arch, version string) Served {
	text, err := readSums(keptAt(dir, arch, version))
	digest, from, ok := parseSums(text)
	if err != nil || !ok || !download.IsURL(from) {
		return Served{}
	}
	return Served{digest, from}
}

// DigestBeside is what a package's folder has beside it, as [ServedDigest] reads a
// server's; the zero value where there is no such file.
func DigestBeside(p Package) Served {
	if p.Kind != RunFile {
		return Served{}
	}
	text, err := readSums(p.Path + SumsSuffix)
	digest, file, ok := parseSums(text)
	if err != nil || !ok || file != p.Name() {
		return Served{}
	}
	return Served{digest, p.Path}
}

// readSums reads a file with a digest.
func readSums(path string) (string, error) {
	file, err := beneath.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxSums))
	return string(text), err
}

// SumsSuffix is what the name of a file with a digest has after that of its package.
const SumsSuffix = ".sha256sum"

// sumsOf is the address of the file with the digest of what is at another one.
func sumsOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address + SumsSuffix
	}
	u.Path += SumsSuffix
	return u.String()
}

// parseSums takes one line of sha256sum's apart.
func parseSums(text string) (digest, file string, ok bool) {
	f := strings.Fields(text)
	if len(f) != 2 || !download.IsSHA256(f[0]) {
		return "", "", false
	}
	return strings.ToLower(f[0]), strings.TrimPrefix(f[1], "*"), true
}

// isAbsent says whether a server answered that it has no such file. Some answer
// 403 then, but not if they name a time to ask again.
func isAbsent(err error) bool {
	var status *download.StatusError
	return errors.As(err, &status) && !retry.May(err) &&
		(status.Code == http.StatusNotFound || status.Code == http.StatusForbidden)
}

// addresses are where the package may be, the likeliest first.
func (o FetchOptions) addresses(arch kernel.Arch, version string) ([]string, error) {
	text := o.BaseURL
	if text == "" {
		text = Server
	}
	base, err := url.Parse(text)
	if err != nil || base.Host == "" || !download.IsURL(text) {
		// Not shown: what does not parse is often a password.
		return nil, stage.New(stage.Usage, "the place of the driver packages has to be https://HOST/PATH, or a folder by its absolute path", "correct --driver-base-url")
	}
	name := runFileName(arch, version)
	var files []string
	if _, file := known(arch, version); file != "" {
		files = append(files, file)
	}
	for _, folder := range folders[arch] {
		if file := folder + "/" + version + "/" + name; !slices.Contains(files, file) {
			files = append(files, file)
		}
	}
	if o.BaseURL != "" {
		files = append(files, name)
	}
	for i, file := range files {
		files[i] = base.JoinPath(file).String()
	}
	return files, nil
}

// explain says what to do about a download that failed.
func (o FetchOptions) explain(version string, err error) error {
	var stages *stage.Error
	var other *download.DigestError
	var size *download.SizeError
	reason, hint := fmt.Sprintf("driver %s cannot be downloaded", version), retry.Hint(err, "check the network and its proxy, and run again: it goes on where it broke off")
	switch {
	case errors.As(err, &stages), errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &other):
		reason = fmt.Sprintf("what the server has as driver %s is not what it should be, and was removed", version)
		hint = "run again, as it may have been damaged on its way; or correct --driver-sha256"
		if o.Known {
			hint = "run again, as it may have been damaged on its way; builder knows this driver by that digest, so name NVIDIA's own server with --driver-base-url, or give the digest that you trust with --driver-sha256"
		}
		if o.Served.SHA256 != "" {
			hint = fmt.Sprintf("run again: %s%s, which says what it should be, is then asked for anew; if that does not help, give the digest that you trust with --driver-sha256, or name another server with --driver-base-url", o.Served.From, SumsSuffix)
		}
	case errors.As(err, &size):
		hint = "check --driver-base-url: no driver package is that large"
	}
	err = stage.Wrap(stage.Driver, err, reason, hint)
	if other != nil {
		err = stage.OfKind(DigestCheck, err)
	}
	return err
}
