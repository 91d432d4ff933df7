# shellcheck shell=bash
# Holds what a unit with very many headers was compiled with against the kernel;
# headers.sh comes before this.

mkdir /tmp/wide
cp /wide.c /tmp/wide/
echo 'obj-m := wide.o' >/tmp/wide/Kbuild
# shellcheck disable=SC2154 # of headers.sh
make -s -C "$output" M=/tmp/wide CC="$compiler" wide.o
# shellcheck disable=SC2154
/typesof -image "/host/boot/vmlinuz-$release" -host /host -objects /tmp/wide -imports /imports \
    -source "$common" -output "$output" -compiler "$compiler" </cases.json >results.json
