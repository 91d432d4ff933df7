#!/bin/sh
# Makes the keys and signatures of this folder anew, with openssl(1) and the
# sign-file that a kernel's build leaves: make.sh LINUX/scripts/sign-file
set -eu
sign_file=$(realpath "$1")
cd "$(dirname "$0")"
mkdir -p sign-file

certify() { # NAME OPTION...
	name=$1
	shift
	openssl req -new -x509 -days 36500 -nodes -subj "/O=k8sp/CN=test $name" \
		-keyout "$name.key" -out "$name.pem" "$@"
}
certify rsa -newkey rsa:2048
certify noskid -newkey rsa:2048 -addext subjectKeyIdentifier=none
certify p256 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1
certify p384 -newkey ec -pkeyopt ec_paramgen_curve:secp384r1

openssl x509 -in rsa.pem -outform DER -out rsa.der
openssl rsa -in rsa.key -traditional -out rsa.pkcs1.key
openssl ec -in p256.key -out p256.sec1.key
openssl rsa -in rsa.key -aes256 -passout pass:secret -out rsa.encrypted.key
openssl rsa -in rsa.key -traditional -aes256 -passout pass:secret -out rsa.encrypted.pkcs1.key
cat rsa.key rsa.pem >rsa.both.pem

printf '\177ELF payload of no consequence\n' >payload
sign() { # KEY HASH
	"$sign_file" "$2" "$1.key" "$1.pem" payload "sign-file/$1.$2"
}
for hash in sha1 sha224 sha256 sha384 sha512 sha3-256 sha3-384 sha3-512; do
	sign rsa "$hash"
done
for hash in sha1 sha256 sha384; do
	sign p256 "$hash"
	sign p384 "$hash"
done
sign noskid sha256
sign p256 sha3-256
"$sign_file" -k sha256 rsa.key rsa.pem payload sign-file/rsa.sha256.skid
