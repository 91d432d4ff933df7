package kernel

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

const (
	keysFile = "proc/keys"
	// builtinKeyring is where a kernel keeps the keys that it was built with.
	// A reader who sees it in proc/keys sees the kernel's keys too.
	builtinKeyring = " .builtin_trusted_keys:"
)

// readKeys fills in which keys the kernel holds; nothing, where a container or
// a lack of rights hides them.
func (s *Signing) readKeys(root *Root) {
	text, err := root.ReadFile(keysFile)
	if err != nil || !bytes.Contains(text, []byte(builtinKeyring)) {
		return
	}
	ids, err := ParseKeys(bytes.NewReader(text))
	if err != nil {
		return
	}
	s.Keys, s.KeysFrom, s.OtherKeyrings = ids, keysFile, otherKeyrings(text)
}

// otherKeyrings are those of a /proc/keys that hold certificates for other
// uses than modules (kernel/module/signing.c takes the built-in and the
// secondary ones, and what .machine adds to these), sorted by name.
func otherKeyrings(text []byte) []string {
	var list []string
	for line := range strings.Lines(string(text)) {
		// … keyring   .platform: 4, or "empty" for a number
		fields := strings.Fields(line)
		if len(fields) < 10 || fields[7] != "keyring" || fields[9] == "empty" {
			continue
		}
		switch name := strings.TrimSuffix(fields[8], ":"); name {
		case ".platform", ".ima", ".evm", ".fs-verity", ".builtin_regdb_keys":
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return list
}

// maxKeysLine bounds a line of /proc/keys. A distinguished name is as long as
// its author likes; the kernel's own buffer for the rest is far smaller.
const maxKeysLine = 64 << 10

// keyLine is a line of /proc/keys about an asymmetric key, whose type is cut
// to nine letters (proc_keys_show of security/keys/proc.c and
// asymmetric_key_describe of crypto/asymmetric_keys/asymmetric_type.c):
//
//	0b0e9d3f I------     1 perm 1f030000     0     0 asymmetri Debian Secure Boot CA: 6ccece7e…: X509.rsa bb419ea1 []
//
// The kernel's own are root's: the first 0 is the user.
var keyLine = regexp.MustCompile(`^[0-9a-f]+ (\S+) +[0-9]+ +(\S+) +[0-9a-f]+ +0 +-?[0-9]+ asymmetri .*: ([0-9a-f]+): X509\.\S+`)

// ParseKeys reads a /proc/keys: the sorted identifiers of the X.509 keys that
// are in use: a certificate's subject key identifier, or its serial number
// where it has none. Keys of users other than root are not the kernel's. The file
// does not say which keyring a key is in, and leaves out what its reader may not
// see, as all is from inside a user namespace. So a key that is there may still
// not be one that modules are verified with; where any are there, one that is not
// there is not.
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

// kernelKeyring is a line about one of the kernel's own keyrings.
var kernelKeyring = regexp.MustCompile(`^[0-9a-f]+ (\S+) +[0-9]+ +(\S+) +[0-9a-f]+ +0 +-?[0-9]+ keyring +\.`)

// kernelKeys are the lines of a /proc/keys about the kernel's own keys: what
// users keep in theirs is nobody's business.
func kernelKeys(text []byte) []byte {
	var kept []byte
	for line := range bytes.Lines(text) {
		if keyLine.Match(line) || kernelKeyring.Match(line) {
			kept = append(kept, line...)
		}
	}
	return kept
}
