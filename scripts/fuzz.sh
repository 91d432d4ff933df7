#!/usr/bin/env bash
# Fuzzes every parser, one after the other, on one processor.
#
#     scripts/fuzz.sh [TIME [TARGET]]
#
# TIME is how long each takes, 10m where it is left out; TARGET is a regular
# expression for the targets' names. What a target fails on is left in the
# testdata of its package, and is a test from then on.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-10m}
only=${2:-.}

grep --recursive --only-matching --include '*_test.go' '^func Fuzz[A-Za-z0-9]*' internal pkg |
    sort | while IFS=: read -r file target; do
    target=${target#func }
    if [[ $target =~ $only ]]; then
        echo "== ${file%/*} $target"
        # Making an input smaller that is only new takes up to a minute each: with
        # seeds of real files that was most of the time.
        go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 1x -parallel 1 "./${file%/*}" </dev/null
    fi
done
