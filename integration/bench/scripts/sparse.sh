# shellcheck shell=bash
# Git's own way to have a part of a tree, told the same part as builder.
# $URL $TAG, and a file of patterns at /patterns
git clone --quiet --depth 1 --filter=blob:none --no-checkout --branch "$TAG" "$URL" /opt/share/linux
cd /opt/share/linux || exit
git sparse-checkout set --no-cone --stdin </patterns
git checkout --quiet
