// Package atomicfile replaces files and links so that a reader sees either the
// old one or the new one, whole, also after a crash or a power cut.
package atomicfile
