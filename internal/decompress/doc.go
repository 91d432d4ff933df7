// Package decompress unpacks what its first bytes say it is: any compression
// that a kernel can be built with (gzip, bzip2, lzma, xz, lzo, lz4, zstd).
// Driver packages, kernel modules and captured hosts come in some of them. What
// a stream may take of memory is bounded.
package decompress
