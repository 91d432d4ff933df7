package modules

// Signature is what is appended to a module, as far as it can be told.
type Signature struct {
	// Present says that there is one; the rest is empty where there is not.
	Present bool
	// Damaged says why a kernel could not take it for a signature (EBADMSG),
	// which it never lets pass.
	Damaged string
	// Unsupported says what of its cryptography no kernel knows (ENOPKG),
	// which counts as no signature.
	Unsupported string
	// KeyID is the subject key identifier, in lower-case hex, of the key that
	// made it; empty where no certificate at hand says so.
	KeyID string
	// Integrity says whether it is of this module's content, by that key.
	Integrity Integrity
}

// Integrity is whether a signature is right.
type Integrity string

// Unverified is a signature whose certificate is not at hand.
const (
	Unverified Integrity = ""
	Valid      Integrity = "valid"
	Wrong      Integrity = "wrong"
)
