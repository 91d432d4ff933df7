#!/bin/bash
#
# On a laptop with Vagrant and VirtualBox: fetch the CUDA toolkit, boot the VM
# that ./Vagrantfile describes, and build NVIDIA kernel modules for its kernel.
# Safe to run again: what is already there is not done twice.
#
# It must run on macOS as it comes: bash 3.2, BSD tools, no Linux program.

set -euo pipefail

# The toolkit to fetch. These four belong together: edit them from the table
# below, or set them in the environment.
: "${CUDA_VERSION:=12.8.0}"
: "${CUDA_DRIVER:=570.86.10}"
: "${CUDA_SHA256:=610867dcd6d94c4e36c4924f1d01b9db28ec08164e8af6c764f21b84200695f8}"
: "${CUDA_URL:=https://developer.download.nvidia.com/compute/cuda/$CUDA_VERSION/local_installers/cuda_${CUDA_VERSION}_${CUDA_DRIVER}_linux.run}"

# version  driver inside  SHA-256 of the toolkit's .run
# 12.8.0   570.86.10      610867dcd6d94c4e36c4924f1d01b9db28ec08164e8af6c764f21b84200695f8
# 12.6.0   560.28.03      31ab04394e69b14dd8656e2b44c2877db1a0e898dff8a7546a4c628438101b94
# 12.5.1   555.42.06      b5e0a779e089c86610051141c4cf498beef431858ec63398107391727ecbdb04
# 12.4.0   550.54.14      e6a842f4eca9490575cdb68b6b1bb78d47b95a897de48dee292c431892e57d17
# 12.3.2   545.23.08      24b2afc9f770d8cf43d6fa7adc2ebfd47c4084db01bdda1ce3ce0a4d493ba65b
# 12.2.2   535.104.05     2b39aae3e7618d9f59a3c8fa1f1bc61f29c0b0e0df75fb05076badb352952ef2
# 12.0.1   525.85.12      1b205a06272f1463f477276fdab903f3f666917c068e520738001e69c7a1875b
# 11.8.0   520.61.05      9223c4af3aebe4a7bbed9abd9b163b03a1b34b855fbc2b4a0d1b706ac09a5a16

# Seconds between attempts at a download that broke.
: "${RETRY_DELAY:=5}"
# "no" leaves the VM's box as it is: for boxes whose server is gone.
: "${BOX_UPDATE:=yes}"

archive=cuda/${CUDA_URL##*/}
toolkit=cuda/toolkit-$CUDA_VERSION
driver=NVIDIA-Linux-x86_64-$CUDA_DRIVER.run
unpacking=cuda/.unpacking

main() {
    [ $# -eq 0 ] || die "it takes no arguments: edit the variables at its top, or set them in the environment."
    cd "$(dirname "$0")" >/dev/null
    need curl "It fetches the CUDA toolkit."
    need vagrant "Install it from https://developer.hashicorp.com/vagrant/install, and VirtualBox for it."
    mkdir -p cuda || die "cannot make the folder cuda in $PWD."

    if [ -d "$toolkit" ] && [ -f "cuda/$driver" ]; then
        say "CUDA $CUDA_VERSION and its driver $CUDA_DRIVER are already unpacked in ./cuda."
    else
        if [ -f "$archive" ]; then verify "$archive"; else download; fi
        unpack
    fi

    [ "$BOX_UPDATE" = no ] || step vagrant box update
    step vagrant up
    step vagrant ssh -c "docker build -t cuda /home/core/share"
    step vagrant ssh -c "docker run --privileged -v /home/core/share:/opt/share cuda"
    say "Done. The modules and their manifest are under $PWD/modules."
}

say() { printf '==> %s\n' "$*"; }

die() {
    printf 'run.sh: %s\n' "$*" >&2
    exit 1
}

need() { command -v "$1" >/dev/null || die "$1 is needed and is not installed. $2"; }

# step runs a command, shows it, and passes on its exit status when it fails.
step() {
    local status=0
    say "$*"
    "$@" || status=$?
    [ "$status" -eq 0 ] && return
    printf 'run.sh: this failed with status %s, see above: %s\n' "$status" "$*" >&2
    exit "$status"
}

# download leaves the verified archive at $archive. Until it is verified it is
# $archive.part, which the next run resumes.
download() {
    local part=$archive.part size
    size=$(remote_size)
    if [ -f "$part" ] && [ -n "$size" ] && [ "$(file_size "$part")" -gt "$size" ]; then
        say "$part is larger than the file on the server: starting again."
        rm -f "$part"
    fi
    if [ -z "$size" ] || [ "$(file_size "$part")" -lt "$size" ]; then
        check_space "$size" "$(file_size "$part")"
        fetch "$part"
    fi
    verify "$part"
    mv "$part" "$archive"
}

# fetch resumes $1 until curl says that it is whole. It gives up on an answer
# that another attempt would not change.
fetch() {
    local part=$1 attempt status meter=-sS
    [ -t 2 ] && meter=--progress-bar
    for attempt in 1 2 3 4 5; do
        if [ -s "$part" ]; then
            say "Resuming $CUDA_URL at $(file_size "$part") bytes"
        else
            say "Downloading $CUDA_URL"
        fi
        status=0
        curl "$meter" -fL --connect-timeout 30 --speed-limit 1000 --speed-time 60 \
            -C - -o "$part" "$CUDA_URL" || status=$?
        case $status in
        0) return ;;
        22) die "the server refused $CUDA_URL. Check that CUDA_VERSION, CUDA_DRIVER and CUDA_URL at the top of run.sh belong together." ;;
        23) die "cannot write $part: is the disk full, or the folder not yours?" ;;
        33 | 36)
            say "The server cannot resume this download: starting again."
            rm -f "$part"
            ;;
        *)
            say "The download broke (curl status $status), attempt $attempt of 5."
            sleep "$RETRY_DELAY"
            ;;
        esac
    done
    die "the download did not complete. Run this again to resume it: what arrived is kept in $part."
}

# remote_size prints the archive's size in bytes, or nothing where the server does not say.
remote_size() {
    curl -sfIL --connect-timeout 30 "$CUDA_URL" 2>/dev/null | tr -d '\r' |
        awk '/^HTTP/ { size = 0 } tolower($1) == "content-length:" { size = $2 } END { if (size > 0) print size }' || true
}

file_size() {
    if [ -f "$1" ]; then wc -c <"$1" | tr -d ' '; else echo 0; fi
}

# check_space says what is about to be used. Unpacked, a toolkit takes about
# twice the room of its archive, which stays beside it.
check_space() {
    local size=$1 have=$2 free needed
    [ -n "$size" ] || return 0
    free=$(df -Pk cuda | awk 'NR == 2 { print $4 }')
    needed=$(((size * 3 - have) / 1024))
    say "The toolkit is $(mib $((size / 1024))) to download, about $(mib $((size * 2 / 1024))) more unpacked; $(mib "$free") are free in $PWD/cuda."
    [ "$free" -ge "$needed" ] || die "not enough disk space: $(mib "$needed") are needed in $PWD/cuda, $(mib "$free") are free."
}

mib() { echo "$(($1 / 1024)) MiB"; }

# verify stops everything unless $1 is the file that CUDA_SHA256 names.
verify() {
    local sum
    say "Checking the SHA-256 of $1"
    sum=$(sha256 "$1") || die "cannot read $1."
    [ "$sum" = "$CUDA_SHA256" ] ||
        die "$1 is not the file it should be: its SHA-256 is $sum, expected $CUDA_SHA256. Delete it and run this again; if that does not help, check CUDA_SHA256 at the top of run.sh."
}

# macOS has shasum; some Linux laptops have only sha256sum.
sha256() {
    if command -v shasum >/dev/null; then shasum -a 256 "$1"; else sha256sum "$1"; fi | cut -d ' ' -f 1
}

# unpack leaves $toolkit whole and the driver in ./cuda. The archive's own
# options unpack it: the installer inside is a Linux program and is not run.
# --keep and --noexec go first, so that a header that does not know the
# third option still runs nothing.
unpack() {
    local found
    say "Unpacking $archive"
    discard_unpacking
    trap discard_unpacking EXIT
    mkdir "$unpacking"
    (cd "$unpacking" && sh "../${archive##*/}" --keep --noexec --nox11) ||
        die "$archive could not be unpacked, see above. It needs about twice its size in free disk space."

    found=$(find "$unpacking" -type f -path "*/builds/$driver")
    [ -n "$found" ] || die "$archive holds no builds/$driver. Check CUDA_DRIVER at the top of run.sh."
    mv "$found" "cuda/$driver"
    rm -rf "$toolkit"
    mv "$unpacking"/* "$toolkit"
    chmod 755 "$toolkit" # makeself's header makes it 700
    say "The toolkit is in $toolkit, its driver is cuda/$driver; $archive can be deleted."
}

# An archive may hold folders that are not writable.
discard_unpacking() {
    if [ -d "$unpacking" ]; then chmod -R u+rwx "$unpacking" && rm -rf "$unpacking"; fi
}

main "$@"
