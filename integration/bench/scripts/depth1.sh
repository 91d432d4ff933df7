# shellcheck shell=bash
# How one gets a kernel's source without more thought.
# $url $tag
git clone --quiet --depth 1 --branch "$tag" "$url" /opt/share/linux
