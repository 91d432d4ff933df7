# shellcheck shell=bash
# Makes bare git repositories of a kernel's source, to be served over HTTP.

repository() {
    git init --quiet --bare --initial-branch main "$1"
    # What GitHub allows.
    for allowed in allowFilter allowTipSHA1InWant allowReachableSHA1InWant; do
        git -C "$1" config "uploadpack.$allowed" true
    done
}

repository git/coreos/linux.git
dpkg-deb --fsys-tarfile /packages/source.deb |
    tar --extract --to-stdout --wildcards './usr/src/linux-source-*.tar.xz' |
    xz --decompress |
    /labtool fast-import -tag 'v%s-coreos' |
    git -C git/coreos/linux.git fast-import --quiet --depth=0
tag=$(git -C git/coreos/linux.git tag)

repository git/coreos/mislabelled.git
mkdir /tmp/tree
printf 'VERSION = 4\nPATCHLEVEL = 7\nSUBLEVEL = 3\n' >/tmp/tree/Makefile
tar --create --directory /tmp tree | /labtool fast-import -tag "$tag%.0s" |
    git -C git/coreos/mislabelled.git fast-import --quiet

mkdir files
echo "$tag" >tag
