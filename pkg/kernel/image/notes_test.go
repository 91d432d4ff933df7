package image_test

import (
	"encoding/binary"
	"testing"

	"github.com/k8sp/cuda/pkg/kernel/image"
)

// note is an ELF note, in the order of bytes of x86 and arm64.
func note(kind uint32, name, content string) []byte {
	var b []byte
	b = binary.LittleEndian.AppendUint32(b, uint32(len(name)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(content)))
	b = binary.LittleEndian.AppendUint32(b, kind)
	for _, part := range []string{name, content} {
		b = append(b, part...)
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
	}
	return b
}

func TestBuildID(t *testing.T) {
	id := note(3, "GNU\x00", "\x01\x02\x03\x04\x05")
	others := append(note(1, "Xen\x00", "6.1"), note(0x100, "Linux\x00", "")...)
	for name, c := range map[string]struct {
		notes []byte
		want  string
	}{
		"alone":                  {id, "0102030405"},
		"behind others":          {append(others, id...), "0102030405"},
		"before others":          {append(id[:len(id):len(id)], others...), "0102030405"},
		"none":                   {others, ""},
		"of another maker":       {note(3, "ABC\x00", "\x01"), ""},
		"of another kind":        {note(1, "GNU\x00", "\x01"), ""},
		"nothing":                {nil, ""},
		"cut in its header":      {id[:11], ""},
		"cut in its content":     {id[:len(id)-4], ""},
		"larger than there is":   {binary.LittleEndian.AppendUint32(nil, 1<<31), ""},
		"sizes that wrap around": {append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 3, 0, 0, 0, 'G'), ""},
	} {
		if got := image.BuildID(c.notes); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestNoteOf(t *testing.T) {
	for _, id := range []string{"0102030405", "00112233445566778899aabbccddeeff00112233"} {
		made, err := image.NoteOf(id)
		if err != nil || image.BuildID(made) != id || string(image.BuildIDNote(made)) != string(made) {
			t.Errorf("%s: % x, %v", id, made, err)
		}
	}
	if _, err := image.NoteOf("0x"); err == nil {
		t.Error("what is no hexadecimal is one")
	}
}
