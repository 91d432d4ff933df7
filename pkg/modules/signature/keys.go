package signature

import (
	"bufio"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// KeyID is the identifier by which a kernel lists a certificate's key in
// /proc/keys: the subject key identifier in lower-case hex or, in a
// certificate without one, the serial number (x509_key_preparse of
// crypto/asymmetric_keys/x509_public_key.c).
func KeyID(cert *x509.Certificate) string {
	if len(cert.SubjectKeyId) > 0 {
		return hex.EncodeToString(cert.SubjectKeyId)
	}
	return hex.EncodeToString(rawSerial(cert))
}

// maxKeysLine bounds a line of /proc/keys. A distinguished name is as long as
// its author likes; the kernel's own buffer for the rest is far smaller.
const maxKeysLine = 64 << 10

// keyLine is a line of /proc/keys about an asymmetric key, whose type is cut
// to nine letters (proc_keys_show of security/keys/proc.c and
// asymmetric_key_describe of crypto/asymmetric_keys/asymmetric_type.c):
//
//	0b0e9d3f I------     1 perm 1f030000     0     0 asymmetri Debian Secure Boot CA: 6ccece7e…: X509.rsa bb419ea1 []
var keyLine = regexp.MustCompile(`^[0-9a-f]+ (\S+) +[0-9]+ +(\S+) +[0-9a-f]+ +-?[0-9]+ +-?[0-9]+ asymmetri .*: ([0-9a-f]+): X509\.\S+`)

// ParseKeys reads a /proc/keys: the sorted [KeyID]s of the X.509 keys that are
// in use. The file does not say which keyring a key is in, and leaves out what
// its reader may not see, as all is from inside a user namespace. So a key
// that is there may still not be one that modules are verified with; where any
// are there, one that is not there is not.
func ParseKeys(r io.Reader) ([]string, error) {
	var ids []string
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxKeysLine)
	for lines.Scan() {
		m := keyLine.FindStringSubmatch(lines.Text())
		// Instantiated, and not revoked, dead, negative or invalidated.
		if m == nil || !strings.HasPrefix(m[1], "I") || strings.ContainsAny(m[1], "RDNi") || m[2] == "expd" {
			continue
		}
		ids = append(ids, m[3])
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read the kernel's keys: %w", err)
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}
