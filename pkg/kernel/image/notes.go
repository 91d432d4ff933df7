package image

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
)

// noteBuildID is NT_GNU_BUILD_ID, the type of the note that ld --build-id leaves.
const noteBuildID = 3

// BuildID is the linker's identifier of a build, in hexadecimal, in ELF notes
// (elf(5)): the content of /sys/kernel/notes, of a vmlinux's section .notes or of
// a module's .note.gnu.build-id. It is "" where they have none.
func BuildID(notes []byte) string {
	_, id := findBuildID(notes)
	return hex.EncodeToString(id)
}

// BuildIDNote is the note that has it, without the others: those of Xen's have
// addresses.
func BuildIDNote(notes []byte) []byte {
	note, _ := findBuildID(notes)
	return note
}

func findBuildID(notes []byte) (note, id []byte) {
	const header = 12
	for len(notes) >= header {
		size := binary.LittleEndian.Uint32(notes[4:])
		begins := header + aligned(binary.LittleEndian.Uint32(notes))
		ends := begins + aligned(size)
		if ends > uint64(len(notes)) {
			break
		}
		if binary.LittleEndian.Uint32(notes[8:]) == noteBuildID && bytes.Equal(notes[header:begins], []byte("GNU\x00")) {
			return notes[:ends], notes[begins : begins+uint64(size)]
		}
		notes = notes[ends:]
	}
	return nil, nil
}

// aligned is a size in a note with what fills it up to four bytes.
func aligned(size uint32) uint64 { return (uint64(size) + 3) &^ 3 }
