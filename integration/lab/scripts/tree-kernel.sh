# shellcheck shell=bash
# Makes a bare git repository of a kernel's tree, to be served over HTTP.
# $tag names its one commit

repository=git/coreos/linux.git
git init --quiet --bare --initial-branch main "$repository"
# What GitHub allows.
for allowed in allowFilter allowTipSHA1InWant allowReachableSHA1InWant; do
    git -C "$repository" config "uploadpack.$allowed" true
done
# shellcheck disable=SC2154 # set by who runs this
tar --create --directory /tree --exclude ./.git --transform 's,^\.,linux,' . |
    /labtool fast-import -tag "$tag%.0s" |
    git -C "$repository" fast-import --quiet --depth=0
mkdir files
