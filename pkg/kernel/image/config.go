package image

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
)

// maxConfig bounds a kernel's .config, in bytes. Today's are 300 kB.
const maxConfig = 16 << 20

// findConfig returns the .config that an IKCONFIG kernel carries, gzip'ed
// between two marks (kernel/configs.c); nil where there is none.
func findConfig(kernel []byte) ([]byte, error) {
	const start, end = "IKCFG_ST", "IKCFG_ED"
	i := bytes.Index(kernel, []byte(start+"\x1f\x8b"))
	if i < 0 {
		return nil, nil
	}
	packed := kernel[i+len(start):]
	j := bytes.Index(packed, []byte(end))
	if j < 0 {
		return nil, errors.New("its IKCONFIG has no end")
	}
	z, err := gzip.NewReader(bytes.NewReader(packed[:j]))
	if err != nil {
		return nil, fmt.Errorf("its IKCONFIG: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(z, maxConfig+1))
	if err != nil {
		return nil, fmt.Errorf("its IKCONFIG: %w", err)
	}
	if len(text) > maxConfig {
		return nil, fmt.Errorf("its IKCONFIG is larger than %d bytes", maxConfig)
	}
	return text, nil
}
