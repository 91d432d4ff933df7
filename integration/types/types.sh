# shellcheck shell=bash
# Holds what was compiled against the kernel, for each of the cases; compile.sh comes
# before this.

# shellcheck disable=SC2154 # of headers.sh
typesof() { /typesof -host /host -objects "$1" -source "$common" -output "$output" -compiler "$compiler"; }
typesof /tmp/driver </cases.json >results.json

# A small module that says what it reads of a struct pci_dev, against the headers as they
# are and against altered ones.
reader() {
    mkdir "/tmp/$1"
    cp /reader.c "/tmp/$1/$1.c"
    echo "obj-m := $1.o" >"/tmp/$1/Kbuild"
    make -s -C "$output" "M=/tmp/$1" CC="$compiler" modules
    cp "/tmp/$1/$1.ko" .
    echo '[{"name":"'"$1"'"}]' | typesof "/tmp/$1" >"$1.json"
}
if [ -e /reader.c ]; then
    reader right
    # shellcheck disable=SC2154 # of headers.sh
    sed -i 's/^struct pci_dev {$/&\n\tunsigned long x[8];/' "$pci"
    reader wrong
fi
