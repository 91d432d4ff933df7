package variants

import (
	"bytes"
	"errors"

	"github.com/k8sp/cuda/pkg/modules/signature"
)

// trailerSize is what a signed module has after its CMS message: struct
// module_signature, and the marker.
const (
	structSize  = 12
	trailerSize = structSize + len("~Module signature appended~\n")
)

// Fields of struct module_signature, by their distance from the file's end.
const (
	fieldAlgo   = trailerSize
	fieldIDType = trailerSize - 2
	fieldLength = trailerSize - 8
)

// signed appends a signature.
func signed(by *signature.Signer) func([]byte) ([]byte, error) {
	return func(file []byte) ([]byte, error) {
		added, err := by.Sign(bytes.NewReader(file), int64(len(file)))
		return append(file, added...), err
	}
}

// then makes one change after another.
func then(changes ...func([]byte) ([]byte, error)) func([]byte) ([]byte, error) {
	return func(file []byte) ([]byte, error) {
		for _, change := range changes {
			var err error
			if file, err = change(file); err != nil {
				return nil, err
			}
		}
		return file, nil
	}
}

// fromEnd changes a byte at a distance from the end.
func fromEnd(distance int, change func(byte) byte) func([]byte) ([]byte, error) {
	return func(file []byte) ([]byte, error) {
		at := len(file) - distance
		file[at] = change(file[at])
		return file, nil
	}
}

// inComment changes a byte of what the compiler says of itself, which is not
// loaded.
func inComment(file []byte) ([]byte, error) {
	at := bytes.Index(file, []byte("GCC: ("))
	if at < 0 {
		return nil, errors.New("it does not say what compiled it")
	}
	file[at] ^= 0x20
	return file, nil
}

func put(value byte) func(byte) byte { return func(byte) byte { return value } }

func (m *maker) signatures() []Variant {
	stranger := signed(m.Stranger)
	list := []Variant{
		peermemFile("signature: by a key that the kernel does not hold", stranger),
		peermemFile("signature: by a key that the kernel does not hold, of other content", then(stranger, inComment)),
		peermemFile("signature: with a message that is none", then(stranger, brokenMessage)),
		peermemFile("signature: said to be longer than the file", then(stranger, fromEnd(fieldLength, put(0x7f)))),
		peermemFile("signature: with a struct module_signature of old", then(stranger, fromEnd(fieldAlgo, put(1)))),
		peermemFile("signature: of another kind than CMS", then(stranger, fromEnd(fieldIDType, put(1)))),
		peermemFile("signature: with a marker that is none", then(stranger, fromEnd(1, put(' ')))),
		peermemFile("signature: a marker and no more", func(file []byte) ([]byte, error) {
			return append(file, "~Module signature appended~\n"...), nil
		}),
	}
	if m.Held == nil {
		return list
	}
	held := signed(m.Held)
	return append(list,
		peermemFile("signature: by a key that the kernel holds", held),
		peermemFile("signature: by a key that the kernel holds, of other content", then(held, inComment)),
		peermemFile("signature: by a key that the kernel holds, after a stranger's", then(stranger, held)),
		peermemFile("signature: by a stranger, after one by a key that the kernel holds", then(held, stranger)),
		peermemFile("signature: by a key that the kernel holds, of a hash that it has not", signed(m.HeldOther)),
	)
}

// brokenMessage spoils the first byte of the CMS message.
func brokenMessage(file []byte) ([]byte, error) {
	payload, err := signature.Read(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		return nil, err
	}
	file[payload.Payload] = 0
	return file, nil
}
