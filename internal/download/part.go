package download

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/k8sp/cuda/internal/atomicfile"
	"github.com/k8sp/cuda/internal/beneath"
)

// part is what has arrived of a file, and which file that is. Both are on the
// disk, beside where the file is to be.
type part struct {
	record
	shown   string // the address
	file    *os.File
	sum     hash.Hash // of what is in file
	size    int64     // of it, in bytes
	end     bool      // that is all there is
	failure error     // the disk's, not the network's
}

// record is what the disk knows of a part beside its bytes.
type record struct {
	// URL is the address, as [Shown] has it.
	URL string `json:"url"`
	// Validator tells the file from later ones; empty: nothing does, and a
	// part cannot be gone on from.
	Validator string `json:"validator"`
	// Size is the whole file's, in bytes; 0 where the server did not say.
	Size int64 `json:"size"`
}

// What the names of a part, and of its record, add to the name before.
const (
	partSuffix   = ".part"
	recordSuffix = ".json"
)

// openPart opens what an earlier run left, where it is of use for the address.
// What is not is left alone until the server has the file.
func openPart(path, shown string) (*part, error) {
	p := &part{shown: shown, sum: sha256.New()}
	var err error
	p.file, err = beneath.OpenRW(path + partSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		p.file, err = beneath.CreateNew(path+partSuffix, 0o644)
	}
	if err != nil {
		return nil, err
	}
	if err := p.load(path + partSuffix + recordSuffix); err != nil {
		return nil, errors.Join(err, p.file.Close())
	}
	return p, nil
}

// load reads what there is. A record that makes no sense is none.
func (p *part) load(path string) error {
	text, err := beneath.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var r record
	if err != nil || json.Unmarshal(text, &r) != nil || r.URL != p.shown || r.Validator == "" {
		return nil
	}
	n, err := io.Copy(p.sum, p.file)
	if err != nil {
		return err
	}
	if r.Size > 0 && n > r.Size {
		return p.restart()
	}
	p.record, p.size = r, n
	return nil
}

// resumable says whether the rest can be asked for.
func (p *part) resumable() bool { return p.size > 0 && p.Validator != "" }

// whole says whether nothing is missing.
func (p *part) whole() bool { return p.end || p.Size > 0 && p.size == p.Size }

// know notes which file the bytes that follow are of.
func (p *part) know(validator string, size int64) error {
	p.record = record{URL: p.shown, Validator: validator, Size: size}
	text, err := json.Marshal(p.record)
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(p.file.Name()+recordSuffix, append(text, '\n'), 0o644)
}

// restart forgets what has arrived. The bytes go first: without any, the record
// is not looked at.
func (p *part) restart() error {
	p.record, p.size, p.end = record{}, 0, false
	p.sum.Reset()
	if err := p.file.Truncate(0); err != nil {
		return err
	}
	_, err := p.file.Seek(0, io.SeekStart)
	return err
}

// Write appends to the part. It implements [io.Writer].
func (p *part) Write(b []byte) (n int, err error) {
	n, p.failure = p.file.Write(b)
	p.sum.Write(b[:n])
	p.size += int64(n)
	return n, p.failure
}

func (p *part) digest() string { return hex.EncodeToString(p.sum.Sum(nil)) }

// finish makes the part the file.
func (p *part) finish(path string) error {
	if err := p.file.Sync(); err != nil {
		return err
	}
	if err := beneath.Rename(p.file.Name(), path); err != nil {
		return err
	}
	return errors.Join(removeIfThere(path+partSuffix+recordSuffix), atomicfile.SyncDir(filepath.Dir(path)))
}

// tidy removes a part in which there is nothing.
func (p *part) tidy() error {
	if info, err := p.file.Stat(); err != nil || info.Size() > 0 {
		return err
	}
	return p.remove()
}

// remove leaves nothing of the part.
func (p *part) remove() error {
	return errors.Join(beneath.Remove(p.file.Name()), removeIfThere(p.file.Name()+recordSuffix))
}

func (p *part) close() { _ = p.file.Close() } // what counts was flushed before

func removeIfThere(path string) error {
	if err := beneath.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
