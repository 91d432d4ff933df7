package makeself

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// maxHeader bounds what is read in search of the payload: the script and the
// embedded decompressor of a real file are 160 kB.
const maxHeader = 4 << 20

// ErrFormat is matched by every error that says that a file is not one of
// NVIDIA's self-extracting files.
var ErrFormat = errors.New("not a self-extracting file of NVIDIA's")

// Header is what the script at the start of a file says about the rest of it.
type Header struct {
	// Label is the product's name, "NVIDIA Accelerated Graphics Driver for
	// Linux-x86_64 535.261.03".
	Label string
	// VersionString is the product's version, "535.261.03".
	VersionString string
	// TargetOS and TargetArch are uname's names for the system that the
	// payload is for: "Linux", "x86_64".
	TargetOS, TargetArch string
	// TargetDir is the folder that the script would unpack into.
	TargetDir string
	// CRC is the POSIX checksum (cksum(1)) and MD5 the lower-case hex MD5 of
	// the file from its fourth line to its end. HasCRC is false and MD5 is
	// empty where the file states none, which it does by all zeros.
	CRC    uint32
	HasCRC bool
	MD5    string
	// ChecksumOffset is where the fourth line begins, PayloadOffset where
	// the tar does, in bytes from the start of the file.
	ChecksumOffset, PayloadOffset int64
}

// ParseHeader reads the script of a self-extracting file, and no further than
// the start of its payload.
func ParseHeader(r io.Reader) (Header, error) {
	p := headerParser{values: map[string]string{}, skip: -1}
	lines := bufio.NewReaderSize(io.LimitReader(r, maxHeader), 64<<10)
	for p.skip < 0 || p.line < p.skip-1 {
		line, err := readLine(lines)
		if err != nil && !errors.Is(err, io.EOF) {
			return Header{}, fmt.Errorf("read header: %w", err)
		}
		if err != nil {
			return Header{}, p.endError(p.offset + line.size)
		}
		if err := p.add(line); err != nil {
			return Header{}, err
		}
	}
	return p.header()
}

// readLine returns the start of the next line, which of a binary one may be
// all that is of use, together with its length in bytes.
func readLine(r *bufio.Reader) (headerLine, error) {
	start, err := r.ReadSlice('\n')
	l := headerLine{text: string(start), size: int64(len(start))}
	for errors.Is(err, bufio.ErrBufferFull) {
		start, err = r.ReadSlice('\n')
		l.size += int64(len(start))
	}
	return l, err
}

type headerLine struct {
	text string
	size int64
}

// headerParser collects assignments from one line after the other.
type headerParser struct {
	values map[string]string
	line   int   // lines seen
	offset int64 // bytes seen
	fourth int64 // where line 4 begins
	skip   int   // the line at which the payload begins, or -1
}

// The assignments of interest. The script has others of the same names further
// down; the first one counts, as all of these come before any command.
var known = map[string]bool{
	"CRCsum": true, "MD5": true, "skip": true, "label": true,
	"version_string": true, "targetdir": true, "TARGET_OS": true, "TARGET_ARCH": true,
}

func (p *headerParser) add(l headerLine) error {
	p.line++
	p.offset += l.size
	if p.line == 1 && (!strings.HasPrefix(l.text, "#!") || !strings.Contains(l.text, "sh")) {
		return fmt.Errorf("%w: it does not begin with a shell script", ErrFormat)
	}
	if p.line == 3 {
		p.fourth = p.offset
	}
	name, value, ok := strings.Cut(strings.TrimRight(l.text, "\r\n"), "=")
	if !ok || !known[name] {
		return nil
	}
	if _, again := p.values[name]; again {
		return nil
	}
	if name == "CRCsum" && p.line != 2 || name == "MD5" && p.line != 3 {
		// The checksums cover line 4 on: these would have to cover
		// themselves. The public makeself's cover its payload.
		return fmt.Errorf("%w: it is the public makeself's", ErrFormat)
	}
	value = strings.Trim(value, `"`)
	p.values[name] = value
	if name != "skip" {
		return nil
	}
	skip, err := strconv.Atoi(value)
	if err != nil || skip <= p.line || skip > maxHeader {
		return fmt.Errorf("%w: its payload is said to begin at line %q", ErrFormat, value)
	}
	p.skip = skip
	return nil
}

// endError explains a file that ended, or a limit that was met, before the
// payload, after size bytes.
func (p *headerParser) endError(size int64) error {
	switch {
	case size >= maxHeader:
		return fmt.Errorf("%w: its script does not end within %d MiB", ErrFormat, maxHeader>>20)
	case p.skip < 0:
		return fmt.Errorf("%w: its script does not say where its payload begins", ErrFormat)
	default:
		return fmt.Errorf("the file ends at line %d and its payload begins at line %d: %w", p.line, p.skip, io.ErrUnexpectedEOF)
	}
}

func (p *headerParser) header() (Header, error) {
	h := Header{
		Label:          p.values["label"],
		VersionString:  p.values["version_string"],
		TargetOS:       p.values["TARGET_OS"],
		TargetArch:     p.values["TARGET_ARCH"],
		TargetDir:      p.values["targetdir"],
		ChecksumOffset: p.fourth,
		PayloadOffset:  p.offset,
	}
	crc, err := strconv.ParseUint(p.values["CRCsum"], 10, 32)
	if err != nil {
		return Header{}, fmt.Errorf("%w: its CRCsum is %q", ErrFormat, p.values["CRCsum"])
	}
	h.CRC, h.HasCRC = uint32(crc), crc != 0
	md5 := strings.ToLower(p.values["MD5"])
	if len(md5) != 32 || strings.Trim(md5, "0123456789abcdef") != "" {
		return Header{}, fmt.Errorf("%w: its MD5 is %q", ErrFormat, p.values["MD5"])
	}
	if strings.Trim(md5, "0") != "" {
		h.MD5 = md5
	}
	return h, nil
}
