// Package variants makes broken and sound variants of real kernel modules, by
// editing their files: each as small a change as breaks one rule of a kernel's
// loader, or does not. What a kernel says to one, and what the gate says, is
// for others to find out (integration/agreement): nothing here knows either.
package variants
