// Package deploy holds the units and the script of deploy/systemd against a
// Debian with systemd: systemd-analyze's verdict on the units, and what
// cuda-next-kernel does on recorded Flatcar hosts. What reads files only, of
// butane and of Kubernetes, is in deploy/check.
package deploy
