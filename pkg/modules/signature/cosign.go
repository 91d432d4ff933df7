package signature

import (
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"golang.org/x/crypto/nacl/secretbox"
	"golang.org/x/crypto/scrypt"

	"github.com/k8sp/cuda/pkg/stage"
)

// cosignTypes are what PEM calls the private keys that cosign makes.
var cosignTypes = []string{"ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY"}

// PasswordVariable is the variable of the environment that has the password of cosign's
// keys, as cosign itself looks for it.
const PasswordVariable = "COSIGN_PASSWORD"

// cosignKey is what is in the PEM: a PKCS #8 key in a box of NaCl's, whose key is
// made of a password by scrypt. Source: sigstore's pkg/cryptoutils and
// secure-systems-lab's encrypted, which cosign takes.
type cosignKey struct {
	KDF struct {
		Name   string `json:"name"`
		Params struct {
			N int `json:"N"`
			R int `json:"r"`
			P int `json:"p"`
		} `json:"params"`
		Salt []byte `json:"salt"`
	} `json:"kdf"`
	Cipher struct {
		Name  string `json:"name"`
		Nonce []byte `json:"nonce"`
	} `json:"cipher"`
	Ciphertext []byte `json:"ciphertext"`
}

// maxScrypt is as much as a key's file may ask scrypt for: N, where cosign asks for 65536.
const maxScrypt = 1 << 20

func readCosignKey(path string, text []byte) (crypto.Signer, error) {
	key, err := openCosignKey(text, os.Getenv(PasswordVariable))
	return key, stage.Wrap(stage.Usage, err, fmt.Sprintf("the key %s, which cosign made, cannot be opened", path), "give its password in the environment, as "+PasswordVariable)
}

func openCosignKey(text []byte, password string) (crypto.Signer, error) {
	var k cosignKey
	if err := json.Unmarshal(text, &k); err != nil {
		return nil, errors.New("it is damaged")
	}
	p := k.KDF.Params
	if k.KDF.Name != "scrypt" || k.Cipher.Name != "nacl/secretbox" || len(k.Cipher.Nonce) != 24 || p.N > maxScrypt || p.R > 64 || p.P > 64 {
		return nil, errors.New("it is encrypted otherwise than cosign does")
	}
	derived, err := scrypt.Key([]byte(password), k.KDF.Salt, p.N, p.R, p.P, 32)
	if err != nil {
		return nil, err
	}
	der, ok := secretbox.Open(nil, k.Ciphertext, (*[24]byte)(k.Cipher.Nonce), (*[32]byte)(derived))
	if !ok {
		return nil, errors.New("the password is another")
	}
	key := parseKey(der)
	if key == nil {
		return nil, errors.New("there is no key in it that builder can sign with")
	}
	return key, nil
}
