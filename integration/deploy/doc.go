// Package deploy holds the units and the script of deploy/systemd against a
// Debian with systemd: systemd-analyze's verdict on the units, what
// cuda-next-kernel does on recorded Flatcar hosts, and the order in which
// systemd starts and stops all of it from boot to shutdown. What reads files
// only, of butane and of Kubernetes, is in deploy/check.
package deploy
