# shellcheck shell=bash
# Adds another release of the same line to a copy of the kernel's repository:
# the newest one before it that the mirror has.
# $version of the release that is there

apt-get update -qq
# shellcheck disable=SC2154 # set by who runs this
other=$(apt-cache madison linux-source-6.1 | awk '{ print $3 }' | grep --max-count=1 --invert-match "^$version-")
cd /tmp || exit
apt-get download -qq "linux-source-6.1=$other"
cd /out || exit
cp -a /kernel/git /kernel/files .
dpkg-deb --fsys-tarfile /tmp/linux-source-*.deb |
    tar --extract --to-stdout --wildcards './usr/src/linux-source-*.tar.xz' |
    xz --decompress |
    /labtool fast-import -tag 'v%s-coreos' |
    git -C git/coreos/linux.git fast-import --quiet --depth=0 --force
echo "${other%-*}" >other
