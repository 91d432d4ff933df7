# shellcheck shell=bash
# Downloads a Debian package of a kernel's source. $package is set by whoever runs
# this.

apt-get update -qq
# shellcheck disable=SC2154
apt-get download -qq "$package"
