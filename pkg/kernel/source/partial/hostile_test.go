package partial

import (
	"bytes"
	"compress/zlib"
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/k8sp/cuda/internal/gitpack"
	"github.com/k8sp/cuda/internal/gittest"
)

// store writes an object that git's own commands would refuse to make, as git
// keeps one by itself, and without a run of git for each of hundreds.
func store(t *testing.T, r *repository, kind, content string) string {
	t.Helper()
	object := fmt.Sprintf("%s %d\x00%s", kind, len(content), content)
	name := fmt.Sprintf("%x", sha1.Sum([]byte(object)))
	var compressed bytes.Buffer
	w := zlib.NewWriter(&compressed)
	_, _ = w.Write([]byte(object)) // a bytes.Buffer takes everything
	w.Close()
	put(t, r.dir, filepath.Join(".git/objects", name[:2], name[2:]), compressed.String())
	return name
}

// tree is a tree's content of "MODE NAME", HASH pairs.
func tree(t *testing.T, entries ...string) string {
	t.Helper()
	var b strings.Builder
	for i := 0; i < len(entries); i += 2 {
		hash, err := hex.DecodeString(entries[i+1])
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString(entries[i] + "\x00" + string(hash))
	}
	return b.String()
}

func TestHostileTrees(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	blob := store(t, r, "blob", "hostile\n")
	up := store(t, r, "blob", "..")
	here := store(t, r, "blob", "here")
	etc := store(t, r, "blob", "/etc")
	inside := store(t, r, "tree", tree(t, "100644 file", blob))
	commit := gittest.Run(t, r.dir, "rev-parse", "v1^{commit}")
	bomb := store(t, r, "tree", tree(t, "100644 0", blob, "100644 1", blob))
	for range 30 {
		bomb = store(t, r, "tree", tree(t, "40000 0", bomb, "40000 1", bomb))
	}
	deep := inside
	for range 100 {
		deep = store(t, r, "tree", tree(t, "40000 d", deep))
	}
	for name, test := range map[string]struct{ root, sentence string }{
		"dot dot":                        {tree(t, "100644 ..", blob), `holds the name ".."`},
		"dot":                            {tree(t, "40000 .", inside), `holds the name "."`},
		"a folder dot dot":               {tree(t, "40000 ..", inside), `holds the name ".."`},
		"a path":                         {tree(t, "100644 ../../file", blob), "which is a path"},
		"an absolute path":               {tree(t, "100644 /tmp/file", blob), "which is a path"},
		"a path of Windows":              {tree(t, `100644 ..\file`, blob), "which is a path"},
		".git":                           {tree(t, "40000 .git", inside), "take for .git"},
		".GIT":                           {tree(t, "40000 .GIT", inside), "take for .git"},
		".git of HFS+":                   {tree(t, "40000 .g\u200cit", inside), "take for .git"},
		".git of NTFS, a short name":     {tree(t, "40000 GIT~1", inside), "take for .git"},
		".git of NTFS, a dot":            {tree(t, "40000 .git.", inside), "take for .git"},
		".git of NTFS, spaces":           {tree(t, "40000 .git . ", inside), "take for .git"},
		".git of NTFS, a stream":         {tree(t, "40000 .git::$INDEX_ALLOCATION", inside), "take for .git"},
		".git as a link":                 {tree(t, "120000 .git", up), "take for .git"},
		"a link in a folder's place":     {tree(t, "120000 d", up, "40000 d", inside), `"d" is out of order`},
		"the same, not in order":         {tree(t, "120000 d", here, "100644 d-", blob, "40000 d", inside), "file exists"},
		"a name twice":                   {tree(t, "100644 a", blob, "100644 a", blob), `"a" is out of order`},
		"not in order":                   {tree(t, "100644 b", blob, "100644 a", blob), `"a" is out of order`},
		"a link up":                      {tree(t, "120000 link", up), `which is outside the tree`},
		"an absolute link":               {tree(t, "120000 link", etc), `which is outside the tree`},
		"a submodule":                    {tree(t, "160000 module", commit), "neither a file, a folder nor a link"},
		"a mode of nothing":              {tree(t, "777 file", blob), "neither a file, a folder nor a link"},
		"a blob as a folder":             {tree(t, "40000 d", blob), ""},
		"a tree as a file":               {tree(t, "100644 file", inside), "tree"},
		"an object that is not there":    {tree(t, "100644 file", strings.Repeat("ab", 20)), ""},
		"a tree of itself over and over": {tree(t, "40000 d", bomb), "more than 524288 files"},
		"folders without end":            {tree(t, "40000 d", deep), "more than 64 deep"},
		"a long name":                    {tree(t, "100644 "+strings.Repeat("x", 300), blob), "a name of 300 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			root := store(t, r, "tree", test.root)
			commit := store(t, r, "commit", "tree "+root+"\nauthor a <a> 0 +0000\ncommitter a <a> 0 +0000\n\nx\n")
			gittest.Run(t, r.dir, "update-ref", "refs/heads/hostile", commit)
			o := r.options(t, r.serve(t, nil), commit)
			o.Ref, o.Choose, o.Patterns = "refs/heads/hostile", nil, ""
			top := filepath.Dir(o.Dir)
			_, err := Checkout(t.Context(), o)
			if err == nil || !strings.Contains(err.Error(), test.sentence) {
				t.Errorf("error is %v, want %q", err, test.sentence)
			}
			if Temporary(err) {
				t.Errorf("the error is said to pass: %v", err)
			}
			wantNothingBeside(t, top, "linux")
		})
	}
}

// What git's own server does not send.
func TestTreesThatCannotBe(t *testing.T) {
	t.Parallel()
	hash := strings.Repeat("ab", 20)
	for name, test := range map[string]struct{ content, sentence string }{
		"no name":   {tree(t, "100644 ", hash), `holds the name ""`},
		"cut short": {tree(t, "100644 file", hash)[:20], "cut short"},
		"no mode":   {"file", "cut short"},
		"no number": {tree(t, "10x644 file", hash), "parsing"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := walk(plumbing.ZeroHash, func(plumbing.Hash) ([]byte, error) { return []byte(test.content), nil })
			if err == nil || !strings.Contains(err.Error(), test.sentence) {
				t.Errorf("error is %v, want %q", err, test.sentence)
			}
		})
	}
}

// wantNothingBeside fails for what is in a folder but the one name, and for a
// hook or a configuration of a stranger's in that one's .git.
func wantNothingBeside(t *testing.T, top, name string) {
	t.Helper()
	entries, err := os.ReadDir(top)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != name {
			t.Errorf("%s was left beside the tree", e.Name())
		}
	}
	err = filepath.WalkDir(filepath.Join(top, name, dot), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && d.Name() == "file" {
			t.Errorf("%s was written", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// pack makes a pack of objects, each with a header of its own.
func pack(objects ...[]byte) []byte {
	b := binary.BigEndian.AppendUint32([]byte("PACK\x00\x00\x00\x02"), uint32(len(objects)))
	for _, o := range objects {
		b = append(b, o...)
	}
	sum := sha1.Sum(b)
	return append(b, sum[:]...)
}

// packed is an object of a pack that claims a size.
func packed(kind plumbing.ObjectType, size int, content []byte) []byte {
	b := []byte{byte(kind)<<4 | byte(size&15)}
	for size >>= 4; size > 0; size >>= 7 {
		b[len(b)-1] |= 0x80
		b = append(b, byte(size&0x7f))
	}
	var z bytes.Buffer
	w := zlib.NewWriter(&z)
	_, _ = w.Write(content)
	w.Close()
	return append(b, z.Bytes()...)
}

func TestHostilePacks(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	zeros := make([]byte, 1<<20)
	for name, test := range map[string]struct {
		pack []byte
		want error
	}{
		"a size too small":    {pack(packed(plumbing.BlobObject, 3, []byte("four"))), gitpack.ErrDamaged},
		"a size too large":    {pack(packed(plumbing.BlobObject, 5, []byte("four"))), gitpack.ErrDamaged},
		"a thousandfold":      {pack(packed(plumbing.BlobObject, 1<<30, zeros)), gitpack.ErrTooMuch},
		"objects without end": {binary.BigEndian.AppendUint32([]byte("PACK\x00\x00\x00\x02"), 1<<31), gitpack.ErrTooMuch},
		"a delta of nothing":  {pack(packed(plumbing.REFDeltaObject, 4, []byte("four"))), gitpack.ErrDamaged},
		"a wrong checksum":    {append(pack(packed(plumbing.BlobObject, 4, []byte("four")))[:30], make([]byte, 20)...), gitpack.ErrDamaged},
		"no pack":             {[]byte("<!doctype html>"), gitpack.ErrDamaged},
		"another's content":   {pack(packed(plumbing.BlobObject, 4, []byte("four"))), plumbing.ErrObjectNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			where := r.serve(t, func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
					if request.Method == http.MethodGet {
						next.ServeHTTP(w, request)
						return
					}
					fmt.Fprintf(w, "0034shallow %s00000008NAK\n", gittest.Run(t, r.dir, "rev-parse", "v1^{commit}"))
					fmt.Fprintf(w, "%04x\x01%s0000", len(test.pack)+5, test.pack)
				})
			})
			o := r.options(t, where, "v1")
			top := filepath.Dir(o.Dir)
			_, err := Checkout(t.Context(), o)
			if !errors.Is(err, test.want) || Temporary(err) {
				t.Errorf("error is %v, want %v", err, test.want)
			}
			wantNothingBeside(t, top, "linux")
			if left, _ := filepath.Glob(filepath.Join(o.Dir, dot, "objects/pack/*")); test.want != plumbing.ErrObjectNotFound && len(left) > 0 {
				t.Errorf("it left %v", left)
			}
		})
	}
}
