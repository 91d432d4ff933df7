package makeself

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/internal/makeself/makeselftest"
)

var driver = makeselftest.Run{
	Label:     "NVIDIA Accelerated Graphics Driver for Linux-x86_64 535.261.03",
	Version:   "535.261.03",
	Arch:      "x86_64",
	TargetDir: "NVIDIA-Linux-x86_64-535.261.03",
	Script:    "while [ \"$1\" ]; do\n  shift\ndone\n",
}

func TestArchive(t *testing.T) {
	tarball := makeselftest.Tar(t, makeselftest.Member{Name: "./.manifest", Content: "content\n"})
	// An ELF with newlines and no end of line, as the real one.
	program := []byte("\x7fELF\x02\n\n\x00skip=9\nlabel=x\n" + strings.Repeat("\xff", 200_000))
	for _, c := range []struct {
		name         string
		payload      []byte
		decompressor []byte
		noChecksums  bool
	}{
		{"plain", tarball, nil, false},
		{"gzip", makeselftest.Gzip(t, tarball), nil, false},
		{"xz with decompressor", makeselftest.XZ(t, tarball), program, false},
		{"zstd with decompressor", makeselftest.Zstd(t, tarball), program, false},
		{"no checksums", makeselftest.Zstd(t, tarball), nil, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			run := driver
			run.Payload, run.Decompressor, run.NoChecksums = c.payload, c.decompressor, c.noChecksums
			file := run.Bytes()
			a, err := New(bytes.NewReader(file), int64(len(file)))
			if err != nil {
				t.Fatal(err)
			}
			want := Header{
				Label: run.Label, VersionString: run.Version, TargetOS: "Linux",
				TargetArch: run.Arch, TargetDir: run.TargetDir,
				CRC: a.CRC, MD5: a.MD5, HasCRC: !c.noChecksums,
				ChecksumOffset: int64(bytes.Index(file, []byte("skip="))),
				PayloadOffset:  int64(len(file) - len(c.payload)),
			}
			if diff := cmp.Diff(want, a.Header); diff != "" {
				t.Error(diff)
			}
			if (a.MD5 == "") != c.noChecksums {
				t.Errorf("MD5 is %q", a.MD5)
			}
			var all bytes.Buffer
			if err := a.Verify(t.Context(), &all); err != nil {
				t.Error(err)
			}
			if !bytes.Equal(all.Bytes(), file) {
				t.Error("Verify did not pass on the file's bytes")
			}
			r, err := a.Payload(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			got, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(got, tarball) {
				t.Errorf("payload has %d bytes, %v; want %d", len(got), err, len(tarball))
			}
		})
	}
}

func TestVerifyAltered(t *testing.T) {
	run := driver
	run.Payload = makeselftest.Gzip(t, makeselftest.Tar(t))
	whole := run.Bytes()
	flipped := bytes.Clone(whole)
	flipped[len(flipped)-1] ^= 1
	noMD5 := bytes.Replace(flipped, whole[bytes.Index(whole, []byte("MD5=")):][:36], []byte("MD5="+strings.Repeat("0", 32)), 1)
	for _, c := range []struct {
		name string
		file []byte
		want string
	}{
		{"flipped", flipped, "MD5"},
		{"truncated", whole[:len(whole)-1], "MD5"},
		{"lengthened", append(bytes.Clone(whole), '\n'), "MD5"},
		{"flipped, no MD5", noMD5, "CRC"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, err := New(bytes.NewReader(c.file), int64(len(c.file)))
			if err != nil {
				t.Fatal(err)
			}
			var sum *ChecksumError
			if err := a.Verify(t.Context(), nil); !errors.As(err, &sum) || sum.Name != c.want {
				t.Errorf("Verify = %v, want a wrong %s", err, c.want)
			}
		})
	}
}

func TestVerifyCanceled(t *testing.T) {
	run := driver
	file := run.Bytes()
	a, err := New(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.Verify(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Verify = %v", err)
	}
}

func TestParseHeaderRefuses(t *testing.T) {
	whole := string(driver.Bytes())
	// As makeself 2.4.5 begins them, the CUDA toolkit's installer among them.
	public := `#!/bin/sh
# This script was generated using Makeself 2.4.5

ORIG_UMASK=` + "`umask`" + `
if test "n" = n; then
    umask 077
fi

CRCsum="1898204417"
MD5="6f1b5f1a6d1eb3a8ec60e0a8d4c5d7b5"
TMPROOT=${TMPDIR:=/tmp}
label="CUDA"
skip="713"
`
	for _, c := range []struct {
		name, file string
		is         error
		want       string
	}{
		{"empty", "", ErrFormat, "does not say where its payload begins"},
		{"an ELF", "\x7fELF\n\n\n", ErrFormat, "does not begin with a shell script"},
		{"a web page", "<!DOCTYPE html>\n<html>\n", ErrFormat, "does not begin with a shell script"},
		{"a script", "#!/bin/sh\necho hello\n", ErrFormat, "does not say where its payload begins"},
		{"public makeself", public, ErrFormat, "the public makeself's"},
		{"cut in the script", whole[:300], io.ErrUnexpectedEOF, "payload begins at line"},
		{"skip backwards", "#!/bin/sh\nCRCsum=1\nMD5=0\nskip=2\n", ErrFormat, `at line "2"`},
		{"skip a command", "#!/bin/sh\nCRCsum=1\nMD5=0\nskip=`id`\n", ErrFormat, "at line \"`id`\""},
		{"skip huge", "#!/bin/sh\nCRCsum=1\nMD5=0\nskip=99999999999999999999\n", ErrFormat, `at line "99999999999999999999"`},
		{"no MD5", "#!/bin/sh\nCRCsum=1\n\nskip=5\n", ErrFormat, `its MD5 is ""`},
		{"no end", "#!/bin/sh\nCRCsum=1\n\nskip=5000\n" + strings.Repeat("x", maxHeader), ErrFormat, "does not end within"},
		{"CRC not a number", "#!/bin/sh\nCRCsum=$(id)\nMD5=0\nskip=5\n", ErrFormat, `its CRCsum is "$(id)"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ParseHeader(strings.NewReader(c.file))
			if !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("ParseHeader = %v, want %v with %q", err, c.is, c.want)
			}
		})
	}
}

func TestPayloadRefuses(t *testing.T) {
	huge := makeselftest.XZ(t, nil)
	for _, c := range []struct {
		name    string
		payload []byte
		want    string
	}{
		{"none", nil, "unexpected EOF"},
		{"unknown", []byte("PK\x03\x04"), "begins with 50 4b 03 04"},
		{"xz cut", huge[:9], "payload: xz"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := unpacked(bytes.NewReader(c.payload))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("unpacked = %v, want %q", err, c.want)
			}
		})
	}
}

func FuzzParseHeader(f *testing.F) {
	f.Add(driver.Bytes())
	f.Add([]byte("#!/bin/sh\nCRCsum=1\nMD5=00000000000000000000000000000000\nskip=5\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		h, err := ParseHeader(bytes.NewReader(file))
		if err != nil {
			return
		}
		if h.ChecksumOffset <= 0 || h.PayloadOffset < h.ChecksumOffset || h.PayloadOffset > int64(len(file)) {
			t.Errorf("offsets %d, %d in %d bytes", h.ChecksumOffset, h.PayloadOffset, len(file))
		}
	})
}
