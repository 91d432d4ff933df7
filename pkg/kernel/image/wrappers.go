package image

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

var le = binary.LittleEndian

// The fields of x86's setup header that matter here, by their offsets in the
// file (Documentation/arch/x86/boot.rst).
const (
	bzSetupSects    = 0x1f1
	bzBootFlag      = 0x1fe // 0xAA55
	bzMagic         = 0x202 // "HdrS"
	bzVersion       = 0x206 // 2.08 and later have a payload
	bzKernelVersion = 0x20e
	bzPayload       = 0x248 // offset into the protected-mode code, then length
	bzHeaderEnd     = 0x250
)

func isBzImage(data []byte) bool {
	return len(data) >= bzHeaderEnd && le.Uint16(data[bzBootFlag:]) == 0xAA55 &&
		string(data[bzMagic:bzMagic+4]) == "HdrS"
}

// bzImage returns the release that the setup header names and the compressed
// payload.
func bzImage(data []byte) (release string, payload []byte, err error) {
	if v := le.Uint16(data[bzVersion:]); v < 0x0208 {
		return "", nil, fmt.Errorf("%w: its x86 boot protocol %d.%02d is older than 2.08 (Linux 2.6.26)", ErrFormat, v>>8, v&0xff)
	}
	sectors := uint64(data[bzSetupSects])
	if sectors == 0 {
		sectors = 4 // as the protocol has it for very old loaders
	}
	start := (sectors+1)*512 + uint64(le.Uint32(data[bzPayload:]))
	payload = within(data, start, uint64(le.Uint32(data[bzPayload+4:])))
	if payload == nil {
		return "", nil, fmt.Errorf("%w: a bzImage cut short, its payload is beyond its end", ErrFormat)
	}
	return setupRelease(data), payload, nil
}

// setupRelease is the first word of the string that kernel_version points to,
// 512 bytes before the text: "6.1.0-49-amd64 (debian-kernel@…) #1 SMP …".
func setupRelease(data []byte) string {
	const limit = 512
	at := int(le.Uint16(data[bzKernelVersion:]))
	if at == 0 || at+512 >= len(data) {
		return ""
	}
	text, _, ok := bytes.Cut(data[at+512:min(len(data), at+512+limit)], []byte{0})
	word, _, _ := bytes.Cut(text, []byte(" "))
	if !ok || !printable(text) {
		return ""
	}
	return bannerRelease("Linux version " + string(word))
}

// isArm64 knows arm64's flat Image by the magic in its 64-byte header.
func isArm64(data []byte) bool {
	return len(data) >= 64 && string(data[56:60]) == "ARM\x64"
}

// isZboot knows EFI's generic compressed image: a PE file whose DOS header
// holds "zimg", the payload's offset and size, and the name of the compressor.
func isZboot(data []byte) bool {
	return len(data) >= 64 && string(data[:2]) == "MZ" && string(data[4:8]) == "zimg"
}

func zboot(data []byte) ([]byte, error) {
	payload := within(data, uint64(le.Uint32(data[8:])), uint64(le.Uint32(data[12:])))
	if payload == nil {
		return nil, fmt.Errorf("%w: an EFI zboot image cut short, its payload is beyond its end", ErrFormat)
	}
	return payload, nil
}

// within is data[start:start+size], or nil where that is empty or not there.
func within(data []byte, start, size uint64) []byte {
	if size == 0 || start > uint64(len(data)) || size > uint64(len(data))-start {
		return nil
	}
	return data[start : start+size]
}
