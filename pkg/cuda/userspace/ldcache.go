package userspace

import (
	"bytes"
	"encoding/binary"
)

// The format of ld.so.cache since glibc 2.2 (sysdeps/generic/dl-cache.h): a
// magic, a header, entries, and the strings that their offsets lead to, from
// the magic on. Up to glibc 2.31 ldconfig put it behind one of an older format.
const (
	cacheMagic  = "glibc-ld.so.cache1.1"
	cacheHeader = 48
	cacheEntry  = 24
)

// cachedPaths are the files that a loader's cache has for a soname, in the
// cache's order; none in a text that is no cache.
func cachedPaths(cache []byte, soname string) []string {
	start := bytes.Index(cache, []byte(cacheMagic))
	if start < 0 {
		return nil
	}
	cache = cache[start:]
	if len(cache) < cacheHeader {
		return nil
	}
	order := binary.NativeEndian
	count := int(order.Uint32(cache[len(cacheMagic):]))
	if count < 0 || count > (len(cache)-cacheHeader)/cacheEntry {
		return nil
	}
	text := func(offset uint32) string {
		if uint64(offset) >= uint64(len(cache)) {
			return ""
		}
		s, _, _ := bytes.Cut(cache[offset:], []byte{0})
		return string(s)
	}
	var paths []string
	for n := range count {
		e := cache[cacheHeader+n*cacheEntry:]
		if text(order.Uint32(e[4:])) == soname {
			paths = append(paths, text(order.Uint32(e[8:])))
		}
	}
	return paths
}
