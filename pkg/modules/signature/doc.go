// Package signature knows the signatures that kernels verify modules by.
//
// A signed module is an ELF file with three things appended to it: a CMS
// message (RFC 5652) that signs every byte before it, twelve bytes of struct
// module_signature that say how long the message is, and the line
// "~Module signature appended~". [Read] finds and parses them,
// [Signature.Verify] holds them against a certificate, and a [Signer] adds
// them, to the byte as the kernel's own scripts/sign-file does. [KeyID]
// is what a kernel that knows a certificate's key calls it.
//
// The same message in a file of its own vouches for a text that no kernel looks at, a
// manifest: [LoadDetached] makes the signer, [ReadTrust] reads the certificates of
// those who may sign, and [Trust.Verify] holds a signature against them.
//
// The CMS that sign-file writes has one shape: one signer, no certificates, no
// attributes, the content elsewhere. It is written and read here with
// encoding/asn1. The PKCS#7 packages in circulation want the whole file in
// memory, and write the digest's algorithm with parameters, which sign-file
// leaves out.
package signature
