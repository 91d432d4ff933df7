#!/usr/bin/env bash
# Changes the program in one small way after the other, and counts how many of
# these mutants its unit tests notice, of those in lines that they run at all.
#
#     scripts/mutate.sh [FOLDER...]
#
# A FOLDER is taken with the packages below it, whose mutants have to be noticed
# by tests of their own package. It fails where fewer than $LEAST percent of a
# package's are. WORKERS (1) of them are tried at once; each worker has a copy of
# the sources, in $TMPDIR. A mutant is out of time, and counts for neither, after
# $PATIENCE times as long as the tests took without: on a busy machine even those
# that do not hang may be.
set -euo pipefail
cd "$(dirname "$0")/.."
LEAST=${LEAST:-85}
WORKERS=${WORKERS:-1}
PATIENCE=${PATIENCE:-20}
gremlins=github.com/go-gremlins/gremlins/cmd/gremlins@v0.6.0
if [ $# -eq 0 ]; then
    set -- pkg/job pkg/node pkg/modules pkg/cuda pkg/share
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/bin" "$work/tree"
GOBIN=$work/bin go install "$gremlins"

# The checkout may be a share, with gigabytes in it that are no sources.
git ls-files -z --cached --others --exclude-standard cmd internal pkg go.mod go.sum |
    tar --null --files-from - --create | tar --extract --directory "$work/tree"

# gremlins tells a mutant that does not compile by go's exit code 2, but go ends
# with 1 then, as where a test fails. It also has go vet have its say.
cat >"$work/bin/go" <<END
#!/bin/sh
if [ "\$1 \$2" = "test -timeout" ]; then
    for package; do :; done
    "$(command -v go)" test -vet=off -c -o /dev/null "\$package" || exit 2
    shift
    set -- test -vet=off "\$@"
fi
exec "$(command -v go)" "\$@"
END
chmod +x "$work/bin/go"

cd "$work/tree"
for folder; do
    folder=${folder#./}
    echo "== $folder" >&2
    GOFLAGS="$(go env GOFLAGS) -p=$WORKERS" PATH=$work/bin:$PATH \
        gremlins unleash "./$folder" --workers "$WORKERS" --timeout-coefficient "$PATIENCE" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
    awk -v folder="$folder" '/ at [^ ]+\.go:[0-9]+:[0-9]+$/ { print }
        /^(ERROR|Usage)/ { print > "/dev/stderr" }' "$work/log" |
        sed "s|^ *||; s| at | at $folder/|" >>"$work/mutants"
done
grep -E '^(LIVED|TIMED OUT) ' "$work/mutants" | sort -k 4 || true
awk -v least="$LEAST" '
    {
        package = $0; sub(/.* at /, "", package); sub(/\/[^\/]*$/, "", package)
        packages[package]
        if (/^KILLED/) killed[package]++
        else if (/^LIVED/) lived[package]++
        else if (/^TIMED OUT/) late[package]++
        else if (/^NOT COVERED/) bare[package]++
    }
    END {
        printf "%-32s %7s %6s %9s %12s %9s\n", "package", "killed", "lived", "timed out", "not covered", "efficacy"
        sorted = "sort"
        for (p in packages) {
            tried = killed[p] + lived[p]
            share = tried ? 100 * killed[p] / tried : 100
            if (share < least) failed = 1
            printf "%-32s %7d %6d %9d %12d %8.1f%%%s\n", p, killed[p], lived[p], late[p], bare[p], share,
                share < least ? " less than " least "%" : "" | sorted
        }
        close(sorted)
        exit failed
    }' "$work/mutants"
