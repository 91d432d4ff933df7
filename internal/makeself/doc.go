// Package makeself reads NVIDIA's self-extracting ".run" files without running
// them.
//
// Such a file is a shell script, sometimes an embedded decompressor, and a
// compressed tar, one after the other. It is made by NVIDIA's own branch of
// makeself ("1.6.0-nv"), whose script starts with assignments that say where
// the tar begins and what the file's checksums are; NVIDIA ships that branch,
// makeself.sh, inside each of its driver packages. This package takes the
// assignments as data, verifies the checksums, and hands out the tar stream.
// It knows nothing of drivers.
package makeself
