// Package kmodindex writes the binary indexes that modprobe(8) reads, such as
// modules.dep.bin: a radix tree of keys, each with values. depmod(8) makes them of the
// modules' files; this is for modules whose files are elsewhere.
//
// The format is kmod's, libkmod/libkmod-index.h, version 2.1. All numbers are big-endian
// and of 32 bits but where said.
//
//	magic 0xB007F457, version 0x00020001, offset of the root node
//	node:  prefix, ended by a zero byte      (flag 0x80000000)
//	       first and last byte of the children's range, and an offset for each
//	       byte between them, 0 of none       (flag 0x20000000)
//	       number of values, and of each a priority and text, ended by a zero
//	       byte                               (flag 0x40000000)
//
// An offset has its node's flags in its highest bits. A child's byte is not in its
// prefix.
package kmodindex

import (
	"bytes"
	"encoding/binary"
	"maps"
	"slices"
)

const (
	magic   = 0xB007F457
	version = 0x00020001

	hasPrefix   = 0x80000000
	hasValues   = 0x40000000
	hasChildren = 0x20000000

	header = 3 * 4
)

// Encode is the index of texts by key, none of which has a zero byte. The same texts are
// the same bytes.
func Encode(texts map[string]string) []byte {
	keys := slices.Sorted(maps.Keys(texts))
	var out bytes.Buffer
	out.Write(make([]byte, header))
	root := node(&out, texts, keys, 0)
	index := out.Bytes()
	for i, number := range []uint32{magic, version, root} {
		binary.BigEndian.PutUint32(index[4*i:], number)
	}
	return index
}

// node writes the node of keys that have their first from bytes in common, after its
// children, and returns its offset with its flags.
func node(out *bytes.Buffer, texts map[string]string, keys []string, from int) uint32 {
	prefix := common(keys)[from:]
	at := from + len(prefix)
	flags := uint32(0)
	var text string
	if len(keys) > 0 && len(keys[0]) == at {
		text, keys, flags = texts[keys[0]], keys[1:], flags|hasValues
	}
	children := map[byte]uint32{}
	for len(keys) > 0 {
		first := keys[0][at]
		n := slices.IndexFunc(keys, func(k string) bool { return k[at] != first })
		if n < 0 {
			n = len(keys)
		}
		children[first] = node(out, texts, keys[:n], at+1)
		keys, flags = keys[n:], flags|hasChildren
	}
	offset := uint32(out.Len())
	if prefix != "" {
		flags |= hasPrefix
		out.WriteString(prefix + "\x00")
	}
	if flags&hasChildren != 0 {
		childRange(out, children)
	}
	if flags&hasValues != 0 {
		number(out, 1) // value,
		number(out, 0) // of no priority
		out.WriteString(text + "\x00")
	}
	return offset | flags
}

func childRange(out *bytes.Buffer, children map[byte]uint32) {
	present := slices.Sorted(maps.Keys(children))
	first, last := present[0], present[len(present)-1]
	out.Write([]byte{first, last})
	for c := int(first); c <= int(last); c++ {
		number(out, children[byte(c)])
	}
}

func number(out *bytes.Buffer, n uint32) { _ = binary.Write(out, binary.BigEndian, n) } // a buffer takes every write

// common is what sorted keys begin with.
func common(keys []string) string {
	if len(keys) == 0 {
		return ""
	}
	first, last := keys[0], keys[len(keys)-1]
	n := 0
	for n < len(first) && n < len(last) && first[n] == last[n] {
		n++
	}
	return first[:n]
}
