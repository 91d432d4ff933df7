package untar

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/k8sp/cuda/internal/beneath"
)

// Options limits an extraction. The zero value extracts every member of a
// stream of sensible size.
type Options struct {
	// Want chooses the members to extract, by slash-separated name relative
	// to the folder. Nil wants all. A member that is not wanted is checked
	// all the same.
	Want func(name string) bool
	// Seen, where it is not nil, is told of each plain file of the stream,
	// wanted or not.
	Seen func(name string, size int64)
	// MaxBytes bounds the sum of all members' sizes, wanted or not; 0 means
	// 16 GiB.
	MaxBytes int64
	// MaxFiles bounds the number of members and of the folders that their names
	// imply; 0 means 100,000.
	MaxFiles int
}

// Error is a stream that was refused.
type Error struct {
	// Name is the member's, as the stream has it, or its beginning where it is
	// too long for one; empty for the whole stream.
	Name string
	// Reason says what is wrong with it.
	Reason string
}

// Error names the member and says why it was refused.
func (e *Error) Error() string {
	if e.Name == "" {
		return e.Reason
	}
	return fmt.Sprintf("member %q %s", e.Name, e.Reason)
}

// Extract unpacks a tar stream into dir, an existing and empty folder, up to
// the stream's end mark. A stream that ends without it broke off, and is an
// [io.ErrUnexpectedEOF]. What an extraction that failed had unpacked stays in
// dir for the caller to remove.
func Extract(ctx context.Context, r io.Reader, dir string, o Options) error {
	x, err := open(dir, o)
	if err != nil {
		return err
	}
	from := &stream{r: r}
	members := tar.NewReader(from)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := members.Next()
		switch {
		case errors.Is(err, io.EOF) && from.ended:
			return fmt.Errorf("read archive: it breaks off before its end mark: %w", io.ErrUnexpectedEOF)
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read archive: %w", err)
		}
		if err := x.member(h, members); err != nil {
			return err
		}
	}
}

// stream tells the two ends apart that a [tar.Reader] calls io.EOF. It reads no
// further than the end mark, so it meets the stream's own end only where there
// is no mark.
type stream struct {
	r io.Reader
	// ended says that the reader asked for more than there is.
	ended bool
}

// Read gives the last bytes without the end, which it keeps for the next call.
func (s *stream) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if errors.Is(err, io.EOF) {
		if n > 0 {
			return n, nil
		}
		s.ended = true
	}
	return n, err
}

// extraction is the state of one Extract.
type extraction struct {
	root beneath.Dir
	opts Options
	// kinds are the members met so far, and 'd' for folders that had none of
	// their own. As dir was empty, nothing else is in it.
	kinds map[string]byte
	bytes int64
	// files counts the members and the folders made above them.
	files int
}

// The bounds of a name are far above those of the archives that there are, and
// keep the work for one member small. Linux takes no longer path.
const (
	maxName  = 4095
	maxDepth = 128
)

const folder = tar.TypeDir

func open(dir string, o Options) (*extraction, error) {
	if o.Want == nil {
		o.Want = func(string) bool { return true }
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = 16 << 30
	}
	if o.MaxFiles == 0 {
		o.MaxFiles = 100_000
	}
	present, err := beneath.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	if len(present) > 0 {
		return nil, fmt.Errorf("unpack into %s: it is not empty", dir)
	}
	// Links are followed nowhere: a second lock behind the checks below.
	return &extraction{root: beneath.Dir(dir), opts: o, kinds: map[string]byte{".": folder}}, nil
}

// member checks one member and extracts it if it is wanted.
func (x *extraction) member(h *tar.Header, content io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	if err := x.count(h); err != nil {
		return err
	}
	name, err := cleanName(h.Name)
	if err != nil {
		return err
	}
	if err := x.check(name, h); err != nil {
		return err
	}
	if x.opts.Seen != nil && h.Typeflag == tar.TypeReg {
		x.opts.Seen(name, h.Size)
	}
	if !x.opts.Want(name) {
		return nil
	}
	if err := x.parents(name, h); err != nil {
		return err
	}
	if was, ok := x.kinds[name]; ok {
		if was == folder && h.Typeflag == folder {
			return nil
		}
		return &Error{h.Name, "is in the archive twice"}
	}
	x.kinds[name] = h.Typeflag
	return x.extract(name, h, content)
}

func (x *extraction) count(h *tar.Header) error {
	if err := x.countFile(); err != nil {
		return err
	}
	if h.Size < 0 || h.Size > x.opts.MaxBytes-x.bytes {
		return &Error{Reason: fmt.Sprintf("the archive unpacks to more than %d bytes", x.opts.MaxBytes)}
	}
	x.bytes += h.Size
	return nil
}

func (x *extraction) countFile() error {
	x.files++
	if x.files > x.opts.MaxFiles {
		return &Error{Reason: fmt.Sprintf("the archive has more than %d members and folders", x.opts.MaxFiles)}
	}
	return nil
}

// cleanName is a member's name relative to the folder.
func cleanName(name string) (string, error) {
	switch {
	case len(name) > maxName:
		return "", &Error{name[:64], fmt.Sprintf("has a name of more than %d bytes", maxName)}
	case name == "" || strings.ContainsRune(name, 0):
		return "", &Error{name, "has no name that a file can have"}
	case path.IsAbs(name):
		return "", &Error{name, "has an absolute path"}
	case slices.Contains(strings.Split(name, "/"), ".."):
		return "", &Error{name, "climbs out of the folder"}
	}
	clean := path.Clean(name)
	if !filepath.IsLocal(clean) {
		return "", &Error{name, "climbs out of the folder"}
	}
	if strings.Count(clean, "/") >= maxDepth {
		return "", &Error{name, fmt.Sprintf("is more than %d folders deep", maxDepth-1)}
	}
	return clean, nil
}

// check refuses what must not be in an archive, wanted or not.
func (x *extraction) check(name string, h *tar.Header) error {
	switch h.Typeflag {
	case tar.TypeReg, folder:
		return nil
	case tar.TypeSymlink:
		if !staysInside(path.Dir(name), h.Linkname) {
			return &Error{h.Name, fmt.Sprintf("is a symbolic link out of the folder, to %q", h.Linkname)}
		}
		return nil
	case tar.TypeLink:
		_, err := cleanName(h.Linkname)
		var refused *Error
		if errors.As(err, &refused) {
			return &Error{h.Name, fmt.Sprintf("is a hard link to %q, which %s", refused.Name, refused.Reason)}
		}
		return err
	default:
		return &Error{h.Name, fmt.Sprintf("is neither file, folder nor link (type %q)", h.Typeflag)}
	}
}

// staysInside tells whether a symbolic link in the folder dir leads to
// somewhere inside the root. Dir is a real folder, so leading ".." elements
// mean what they say; a later one could follow another link, and is refused.
func staysInside(dir, target string) bool {
	if target == "" || path.IsAbs(target) || !filepath.IsLocal(path.Join(dir, target)) {
		return false
	}
	rest := target
	for strings.HasPrefix(rest, "../") {
		rest = rest[len("../"):]
	}
	return rest == ".." || !slices.Contains(strings.Split(rest, "/"), "..")
}

// parents makes the folders above a member, none of which may be a link.
func (x *extraction) parents(name string, h *tar.Header) error {
	dir := path.Dir(name)
	kind, met := x.kinds[dir]
	switch {
	case met && kind == folder:
		return nil
	case met:
		return &Error{h.Name, fmt.Sprintf("would be written through %q, which is no folder", dir)}
	}
	if err := x.parents(dir, h); err != nil {
		return err
	}
	if err := x.countFile(); err != nil {
		return err
	}
	x.kinds[dir] = folder
	return x.root.Mkdir(dir, 0o755)
}

func (x *extraction) extract(name string, h *tar.Header, content io.Reader) error {
	switch h.Typeflag {
	case folder:
		return x.root.Mkdir(name, 0o755)
	case tar.TypeSymlink:
		return x.root.Symlink(h.Linkname, name)
	case tar.TypeLink:
		target, _ := cleanName(h.Linkname)
		if x.kinds[target] != tar.TypeReg {
			return &Error{h.Name, fmt.Sprintf("is a hard link to %q, which is no file unpacked before it", h.Linkname)}
		}
		return x.root.Link(target, name)
	default:
		return x.file(name, h, content)
	}
}

func (x *extraction) file(name string, h *tar.Header, content io.Reader) error {
	mode := fs.FileMode(0o644)
	if h.Mode&0o111 != 0 {
		mode = 0o755
	}
	f, err := x.root.CreateNew(name, mode)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, content); err != nil {
		_ = f.Close()
		return fmt.Errorf("unpack %s: %w", name, err)
	}
	return f.Close()
}
