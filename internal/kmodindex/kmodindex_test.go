package kmodindex

import (
	"encoding/binary"
	"fmt"
	"maps"
	"strings"
	"testing"
)

// lookup finds a key as libkmod does; "" where there is none.
func lookup(index []byte, key string) string {
	number := func(at uint32) uint32 { return binary.BigEndian.Uint32(index[at:]) }
	text := func(at uint32) string {
		s, _, _ := strings.Cut(string(index[at:]), "\x00")
		return s
	}
	for node := number(8); ; {
		at := node & 0x0FFFFFFF
		if node&hasPrefix != 0 {
			prefix := text(at)
			if !strings.HasPrefix(key, prefix) {
				return ""
			}
			key, at = key[len(prefix):], at+uint32(len(prefix))+1
		}
		first, last := byte(1), byte(0)
		children := at + 2
		if node&hasChildren != 0 {
			first, last = index[at], index[at+1]
			at += 2 + 4*(uint32(last)-uint32(first)+1)
		}
		if key == "" {
			if node&hasValues == 0 || number(at) != 1 {
				return ""
			}
			return text(at + 8)
		}
		if key[0] < first || key[0] > last {
			return ""
		}
		node = number(children + 4*uint32(key[0]-first))
		if node == 0 {
			return ""
		}
		key = key[1:]
	}
}

func TestEncode(t *testing.T) {
	many := map[string]string{}
	for i := range 300 {
		many[fmt.Sprintf("module_%d", i*i)] = fmt.Sprint("of ", i)
	}
	for _, texts := range []map[string]string{
		{}, {"nvidia": "nvidia.ko:"}, many,
		{"": "nothing", "a": "one", "ab": "more", "abc": "most", "b": ""},
		{"nvidia": "nvidia.ko:", "nvidia_uvm": "nvidia-uvm.ko: nvidia.ko", "nvidia_drm": "nvidia-drm.ko: nvidia.ko host/drm.ko", "drm": "host/drm.ko:"},
	} {
		index := Encode(texts)
		if got := binary.BigEndian.Uint32(index); got != magic {
			t.Errorf("it begins with %#x", got)
		}
		for key := range texts {
			if got := lookup(index, key); got != texts[key] {
				t.Errorf("%q is %q, want %q", key, got, texts[key])
			}
		}
		for _, key := range []string{"nvidi", "nvidia_", "nvidia_drm2", "zz", "module_", "module_3"} {
			if _, ok := texts[key]; !ok && lookup(index, key) != "" {
				t.Errorf("%q is there", key)
			}
		}
		if again := Encode(maps.Clone(texts)); string(again) != string(index) {
			t.Error("the same texts are other bytes")
		}
	}
}
