# shellcheck shell=bash
# How one gets a kernel's source without more thought.
# $URL $TAG
git clone --quiet --depth 1 --branch "$TAG" "$URL" /opt/share/linux
