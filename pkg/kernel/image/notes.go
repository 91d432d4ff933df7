package image

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
)

// noteBuildID is NT_GNU_BUILD_ID, the type of the note that ld --build-id leaves.
const noteBuildID = 3

// gnu is the name of its maker there.
const gnu = "GNU\x00"

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

// NoteOf is the note that has a build ID, given in hexadecimal.
func NoteOf(buildID string) ([]byte, error) {
	id, err := hex.DecodeString(buildID)
	if err != nil {
		return nil, err
	}
	var note []byte
	for _, word := range []uint32{uint32(len(gnu)), uint32(len(id)), noteBuildID} {
		note = binary.LittleEndian.AppendUint32(note, word)
	}
	note = append(append(note, gnu...), id...)
	return append(note, make([]byte, aligned(uint32(len(id)))-uint64(len(id)))...), nil
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
		if binary.LittleEndian.Uint32(notes[8:]) == noteBuildID && bytes.Equal(notes[header:begins], []byte(gnu)) {
			return notes[:ends], notes[begins : begins+uint64(size)]
		}
		notes = notes[ends:]
	}
	return nil, nil
}

// aligned is a size in a note with what fills it up to four bytes.
func aligned(size uint32) uint64 { return (uint64(size) + 3) &^ 3 }
