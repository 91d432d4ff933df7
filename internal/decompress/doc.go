// Package decompress unpacks what its first bytes say it is: gzip, xz, zstd or
// bzip2. Driver packages, kernel modules and captured hosts come in any of
// them. What a stream may take of memory is bounded.
package decompress
