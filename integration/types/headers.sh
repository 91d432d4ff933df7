# shellcheck shell=bash
# Has the headers of the host in /host where they are on it, and finds out where these
# are and which compiler built the kernel.
# $release is the kernel's

cp -a /host/usr/src/. /usr/src/
cp -a /host/usr/lib/linux-kbuild-* /usr/lib/
# shellcheck disable=SC2154 # set by who runs this
output=/usr/src/linux-headers-$release
# shellcheck disable=SC2034 # for what comes after this
common=$(sed -n 's,^include \(.*\)/Makefile$,\1,p' "$output/Makefile")
# shellcheck disable=SC2034
compiler=$(sed -nE 's/^CONFIG_CC_VERSION_TEXT="[^ ]*gcc-([0-9]+) .*/gcc-\1/p' "$output/.config")
