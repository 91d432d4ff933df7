// Package cksum computes the checksum of cksum(1), which the self-extracting
// files of old state for themselves.
package cksum

import "encoding/binary"

// tables[0] is the byte-wise table of the polynomial, which is Ethernet's
// (0x04C11DB7), most significant bit first; hash/crc32 only has the reflected
// form. tables[n] is the same n bytes further on, so that Write can take eight
// bytes at once ("slicing by 8"): a driver package is half a gigabyte.
var tables = func() (t [8][256]uint32) {
	for i := range t[0] {
		crc := uint32(i) << 24
		for range 8 {
			if crc&(1<<31) != 0 {
				crc = crc<<1 ^ 0x04C11DB7
			} else {
				crc <<= 1
			}
		}
		t[0][i] = crc
	}
	for n := 1; n < len(t); n++ {
		for i, crc := range t[n-1] {
			t[n][i] = crc<<8 ^ t[0][crc>>24]
		}
	}
	return t
}()

// Sum is a running checksum: a CRC of the bytes, then of their count,
// inverted. Its zero value is that of no bytes.
type Sum struct {
	crc uint32
	n   uint64
}

// Write implements io.Writer; it does not fail.
func (c *Sum) Write(p []byte) (int, error) {
	crc, rest, t := c.crc, p, &tables
	for ; len(rest) >= 8; rest = rest[8:] {
		crc ^= binary.BigEndian.Uint32(rest)
		crc = t[7][crc>>24] ^ t[6][byte(crc>>16)] ^ t[5][byte(crc>>8)] ^ t[4][byte(crc)] ^
			t[3][rest[4]] ^ t[2][rest[5]] ^ t[1][rest[6]] ^ t[0][rest[7]]
	}
	for _, b := range rest {
		crc = next(crc, b)
	}
	c.crc = crc
	c.n += uint64(len(p))
	return len(p), nil
}

// Sum32 is the checksum of what was written so far, as cksum(1) prints it.
func (c *Sum) Sum32() uint32 {
	crc := c.crc
	for n := c.n; n > 0; n >>= 8 {
		crc = next(crc, byte(n))
	}
	return ^crc
}

func next(crc uint32, b byte) uint32 { return crc<<8 ^ tables[0][byte(crc>>24)^b] }
