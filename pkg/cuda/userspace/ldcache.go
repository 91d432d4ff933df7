package userspace

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"
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
	// at is what begins at an offset, as long as a path can be.
	at := func(offset uint32) []byte {
		if uint64(offset) >= uint64(len(cache)) {
			return nil
		}
		return cache[offset:min(len(cache), int(offset)+unix.PathMax)]
	}
	var paths []string
	for n := range count {
		e := cache[cacheHeader+n*cacheEntry:]
		if !bytes.HasPrefix(at(order.Uint32(e[4:])), []byte(soname+"\x00")) {
			continue
		}
		if path, _, ended := bytes.Cut(at(order.Uint32(e[8:])), []byte{0}); ended {
			paths = append(paths, string(path))
		}
	}
	return paths
}
