package makeself

// cksumTable is the byte-wise table of POSIX cksum's polynomial, which is
// Ethernet's (0x04C11DB7), most significant bit first; hash/crc32 only has the
// reflected form.
var cksumTable = func() (table [256]uint32) {
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

// cksum computes the checksum of cksum(1): a CRC of the bytes, then of their
// count, inverted.
type cksum struct {
	crc uint32
	n   uint64
}

func newCksum() *cksum { return &cksum{} }

// Write implements io.Writer; it does not fail.
func (c *cksum) Write(p []byte) (int, error) {
	crc := c.crc
	for _, b := range p {
		crc = crc<<8 ^ cksumTable[byte(crc>>24)^b]
	}
	c.crc = crc
	c.n += uint64(len(p))
	return len(p), nil
}

// Sum32 is the checksum of what was written so far.
func (c *cksum) Sum32() uint32 {
	crc := c.crc
	for n := c.n; n > 0; n >>= 8 {
		crc = crc<<8 ^ cksumTable[byte(crc>>24)^byte(n)]
	}
	return ^crc
}
