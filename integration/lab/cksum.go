package lab

import "hash"

// runSum computes the two checksums of a self-extracting archive.
type runSum struct {
	md5  hash.Hash
	crc  uint32
	size uint64
}

// Write implements [io.Writer].
func (s *runSum) Write(p []byte) (int, error) {
	for _, b := range p {
		s.crc = s.crc<<8 ^ posixTable[byte(s.crc>>24)^b]
	}
	s.size += uint64(len(p))
	return s.md5.Write(p)
}

// cksum is what POSIX's cksum(1) prints: a CRC over the content and then over
// its length, least byte first.
func (s *runSum) cksum() uint32 {
	crc := s.crc
	for n := s.size; n > 0; n >>= 8 {
		crc = crc<<8 ^ posixTable[byte(crc>>24)^byte(n)]
	}
	return ^crc
}

// posixTable is of the polynomial 0x04C11DB7, not reflected as hash/crc32's is.
var posixTable = func() (table [256]uint32) {
	for i := range table {
		crc := uint32(i) << 24
		for range 8 {
			if crc&(1<<31) != 0 {
				crc = crc<<1 ^ 0x04C11DB7
			} else {
				crc <<= 1
			}
		}
		table[i] = crc
	}
	return table
}()
