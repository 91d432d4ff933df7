package cuda

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/internal/makeself"
	"github.com/k8sp/cuda/internal/untar"
	"github.com/k8sp/cuda/pkg/stage"
)

// full is a disk without room.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, unix.ENOSPC }

// A copy is whole, however little comes at a time, or it is an error.
func TestCopyContext(t *testing.T) {
	t.Parallel()
	broken := errors.New("the disk is broken")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	var out bytes.Buffer
	for _, tt := range []struct {
		name string
		ctx  context.Context
		to   io.Writer
		from io.Reader
		want error
		text string
	}{
		{"a byte at a time", t.Context(), &out, iotest.OneByteReader(strings.NewReader("source")), nil, "source"},
		{"the end with the last bytes", t.Context(), &out, iotest.DataErrReader(strings.NewReader("source")), nil, "source"},
		{"what cannot be read", t.Context(), &out, io.MultiReader(strings.NewReader("sou"), iotest.ErrReader(broken)), broken, "sou"},
		{"what cannot be written", t.Context(), full{}, strings.NewReader("source"), unix.ENOSPC, ""},
		{"interrupted", ended, &out, strings.NewReader("source"), context.Canceled, ""},
	} {
		out.Reset()
		if err := copyContext(tt.ctx, tt.to, tt.from); !errors.Is(err, tt.want) || out.String() != tt.text {
			t.Errorf("%s: %q, %v, want %q, %v", tt.name, &out, err, tt.text, tt.want)
		}
	}
}

// Of a folder every member is copied, until somebody interrupts it.
func TestMembersOfAFolder(t *testing.T) {
	t.Parallel()
	p := writeFolder(t)
	dst := filepath.Join(t.TempDir(), "members")
	list := []string{"kernel/conftest.sh", "kernel/nvidia/nv.c", "libcuda.so.535.261.03"}
	want := map[string]string{}
	for _, name := range list {
		want[name] = filepath.Join(dst, name)
	}
	got, err := Members(t.Context(), p, dst, list)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{list[0] + " -rwxr-xr-x", list[1] + " -rw-r--r--", list[2] + " -rwxr-xr-x"}, files(t, dst)); diff != "" {
		t.Error(diff)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	got, err = Members(ctx, p, filepath.Join(t.TempDir(), "members"), list)
	if got != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v, %v", got, err)
	}
}

// The digest of a folder is in the manifests of what was built from it: another
// for the same files would have all of that built again.
func TestDigestOfAFolder(t *testing.T) {
	t.Parallel()
	text := ""
	for _, f := range []struct {
		name       string
		executable bool
		content    string
	}{
		{".manifest", false, manifest535},
		{"firmware/gsp_ga10x.bin", false, "firmware"},
		{"kernel-open/Makefile", false, "make open"},
		{"kernel/Makefile", false, "make"},
		{"kernel/conftest.sh", true, "tests"},
		{"kernel/dkms.conf", false, "dkms"},
		{"kernel/nvidia/nv.c", false, "source"},
		{"nvidia-installer", true, "installer"},
	} {
		text += fmt.Sprintf("%q %t %x\n", f.name, f.executable, sha256.Sum256([]byte(f.content)))
	}
	want := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(text)))
	if got, err := writeFolder(t).Digest(t.Context()); err != nil || got != want {
		t.Errorf("digest %s, %v, want %s, of\n%s", got, err, want, text)
	}
}

// A package that was fetched and is broken would be found again by the next run.
// One that nobody looked at to its end, or that a user put down, is left alone.
func TestUnpackRemovesWhatItFetched(t *testing.T) {
	t.Parallel()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	cut := func(b []byte) []byte { return b[:len(b)-10] }
	for _, tt := range []struct {
		name    string
		ctx     context.Context
		fetched bool
		removed bool
		code    int
		hint    string
	}{
		{"fetched", t.Context(), true, true, 11, "run again: it was removed, and is downloaded anew"},
		{"a user's", t.Context(), false, false, 11, againHint},
		{"interrupted", ended, true, false, stage.ExitInterrupted, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := writeRun(t, run(t, members()...), cut)
			p.Fetched = tt.fetched
			_, err := Unpack(tt.ctx, p, filepath.Join(t.TempDir(), "driver"))
			if stage.ExitCode(err) != tt.code || hintOf(err) != tt.hint {
				t.Errorf("error %v, want exit code %d and the hint %q", err, tt.code, tt.hint)
			}
			if _, err := os.Stat(p.Path); errors.Is(err, fs.ErrNotExist) != tt.removed {
				t.Errorf("the package: %v, want it removed: %v", err, tt.removed)
			}
		})
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	const anew = "run again: it was removed, and is downloaded anew"
	for _, tt := range []struct {
		name           string
		err            error
		reason         string
		users, fetched string // hints
	}{
		{"a checksum", &makeself.ChecksumError{}, "was cut short or altered since NVIDIA made it", againHint, anew},
		{"a member", &untar.Error{}, "holds what no driver package of NVIDIA's does, so nothing of it is used", againHint, anew},
		{"another version", mismatch{"version", "1.2", "1.3"}, "is not what its name says", "give it its true name, or put the right package in its place", anew},
		{"a web page", makeself.ErrFormat, "is not a driver package of NVIDIA's", againHint, anew},
		{"cut", io.ErrUnexpectedEOF, "was cut short or altered since NVIDIA made it", againHint, anew},
		{"altered", gzip.ErrChecksum, "was cut short or altered since NVIDIA made it", againHint, anew},
		{"a full disk", unix.ENOSPC, "cannot be unpacked", spaceHint, spaceHint},
		{"a quota", unix.EDQUOT, "cannot be unpacked", spaceHint, spaceHint},
		{"a share that is not writable", unix.EROFS, "cannot be unpacked", spaceHint, spaceHint},
		{"anything else", unix.EIO, "cannot be used", againHint, anew},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for fetched, hint := range map[bool]string{false: tt.users, true: tt.fetched} {
				p := Package{Path: "/share/cuda/NVIDIA-Linux-x86_64-1.2.run", Fetched: fetched}
				err := explain(p, fmt.Errorf("read: %w", tt.err))
				checkError(t, err, "the driver package NVIDIA-Linux-x86_64-1.2.run "+tt.reason, hint)
				if !errors.Is(err, tt.err) {
					t.Errorf("%v is not %v", err, tt.err)
				}
			}
		})
	}
	if err := explain(Package{}, context.Canceled); stage.ExitCode(err) != stage.ExitInterrupted {
		t.Errorf("an interrupt: %v", err)
	}
}
