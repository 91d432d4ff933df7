package image

import "bytes"

// findBTF finds the type information in a kernel without sections: a header
// (struct btf_header, include/uapi/linux/btf.h) whose magic, version and
// arithmetic all fit. It returns nil where there is none.
func findBTF(kernel []byte) []byte {
	const headerSize = 24
	magic := []byte{0x9f, 0xeb, 1, 0, headerSize, 0, 0, 0} // magic, version, flags, hdr_len
	for rest := kernel; ; {
		i := bytes.Index(rest, magic)
		if i < 0 || len(rest)-i < headerSize {
			return nil
		}
		h := rest[i:]
		typeOff, typeLen := uint64(le.Uint32(h[8:])), uint64(le.Uint32(h[12:]))
		strOff, strLen := uint64(le.Uint32(h[16:])), uint64(le.Uint32(h[20:]))
		// The kernel's own has the types first and the strings after them.
		if typeOff == 0 && typeLen > 0 && strOff == typeLen {
			if blob := within(h, 0, headerSize+strOff+strLen); blob != nil {
				return blob
			}
		}
		rest = rest[i+len(magic):]
	}
}
