#!/bin/bash
#
# On a laptop with Vagrant and VirtualBox: fetch the CUDA toolkit, boot the VM
# that ./Vagrantfile describes, and build NVIDIA kernel modules for its kernel.
# Safe to run again: what is already there is not done twice.
#
# It must run on macOS as it comes: bash 3.2, BSD tools, no Linux program.

set -euo pipefail

# The driver that the environment asks for, before there is a default.
asked=${CUDA_DRIVER:-}

# The toolkit to fetch. These four belong together: edit them from the table
# below, or set them in the environment.
: "${CUDA_VERSION:=13.1.1}"
: "${CUDA_DRIVER:=590.48.01}"
: "${CUDA_SHA256:=24ff323723722781436804b392a48f691cb40de9808095d3e2192d0db6dfb8e4}"
: "${CUDA_URL:=https://developer.download.nvidia.com/compute/cuda/$CUDA_VERSION/local_installers/cuda_${CUDA_VERSION}_${CUDA_DRIVER}_linux.run}"

# The drivers marked so compile against older kernels only than Flatcar has now (with
# 6.12.97 and 6.6.145 a function changed), and 590 runs no GPU before Turing: take a
# toolkit for its libraries and another driver with TOOLKIT=no then.
#
# version  driver inside  SHA-256 of the toolkit's .run
# 13.1.1   590.48.01      24ff323723722781436804b392a48f691cb40de9808095d3e2192d0db6dfb8e4
# 13.0.2   580.95.05      81a5d0d0870ba2022efb0a531dcc60adbdc2bbff7b3ef19d6fd6d8105406c775  older kernels
# 12.9.1   575.57.08      0f6d806ddd87230d2adbe8a6006a9d20144fdbda9de2d6acc677daa5d036417a  older kernels
# 12.8.0   570.86.10      610867dcd6d94c4e36c4924f1d01b9db28ec08164e8af6c764f21b84200695f8  older kernels
# 12.6.0   560.28.03      31ab04394e69b14dd8656e2b44c2877db1a0e898dff8a7546a4c628438101b94  older kernels
# 12.4.0   550.54.14      e6a842f4eca9490575cdb68b6b1bb78d47b95a897de48dee292c431892e57d17  older kernels
# 12.2.2   535.104.05     2b39aae3e7618d9f59a3c8fa1f1bc61f29c0b0e0df75fb05076badb352952ef2  older kernels
# 12.0.1   525.85.12      1b205a06272f1463f477276fdab903f3f666917c068e520738001e69c7a1875b  older kernels
# 11.8.0   520.61.05      9223c4af3aebe4a7bbed9abd9b163b03a1b34b855fbc2b4a0d1b706ac09a5a16  older kernels

# "no" fetches NVIDIA's driver package alone, 0.4 GB, and no toolkit. It may be any that
# pkg/cuda/digests/drivers.sha256 has: TOOLKIT=no CUDA_DRIVER=580.126.09 ./run.sh
: "${TOOLKIT:=yes}"
: "${DRIVER_URL:=https://us.download.nvidia.com}"

# Seconds between attempts at a download that broke.
: "${RETRY_DELAY:=5}"
# "no" leaves the VM's box as it is: for boxes whose server is gone.
: "${BOX_UPDATE:=yes}"

toolkit=cuda/toolkit-$CUDA_VERSION
driver=NVIDIA-Linux-x86_64-$CUDA_DRIVER.run
unpacking=cuda/.unpacking
known=pkg/cuda/digests/drivers.sha256

main() {
    [ $# -eq 0 ] || die "it takes no arguments: edit the variables at its top, or set them in the environment."
    cd "$(dirname "$0")" >/dev/null
    need curl "It fetches the CUDA toolkit."
    need vagrant "Install it from https://developer.hashicorp.com/vagrant/install, and VirtualBox for it."
    check_machine
    mkdir -p cuda || die "cannot make the folder cuda in $PWD."
    if [ ! -e "cuda/$driver" ] && [ -f "cuda/$driver.aside" ]; then mv "cuda/$driver.aside" "cuda/$driver"; fi

    case $TOOLKIT in
    yes) get_toolkit ;;
    no) get_driver ;;
    *) die "TOOLKIT is $TOOLKIT, and has to be yes or no." ;;
    esac
    set_newer_aside

    [ "$BOX_UPDATE" = no ] || step vagrant box update
    step vagrant up
    build="docker build -t cuda /home/core/share"
    # The programs of the source of a kernel before 5.10 do not compile on newer systems.
    if is_coreos; then build="docker build -t cuda --build-arg BASE=debian:bullseye-slim --build-arg COMPILERS='10 9' /home/core/share"; fi
    step vagrant ssh -c "$build"
    step vagrant ssh -c "docker run --privileged -v /home/core/share:/opt/share cuda"
    say "Done. The modules and their manifest are under $PWD/modules."
}

# is_coreos says whether the VM is CoreOS's, whose kernels are of before 5.10.
is_coreos() { grep -q '^DISTRIBUTION = "coreos"' Vagrantfile 2>/dev/null; }

# check_machine stops where the VM could not start, before gigabytes are downloaded:
# Flatcar's box is for amd64, and VirtualBox runs only what the laptop's own processor is.
check_machine() {
    case $(uname -m) in
    x86_64 | amd64) ;;
    *) die "this machine is $(uname -m), and the VM that it would boot is for amd64. Docker alone builds for a release of Flatcar, or for a node by its capture: see docs/laptop.md." ;;
    esac
    if [ "${VAGRANT_DEFAULT_PROVIDER:-virtualbox}" = virtualbox ]; then
        command -v VBoxManage >/dev/null || die "VirtualBox is needed and is not installed. Install it from https://www.virtualbox.org, or go without: docs/laptop.md has Docker alone, and QEMU."
    fi
    # It also finds out whether there is an NFS server, as macOS has.
    vagrant validate || die "Vagrant cannot use this machine, see above. It shares this folder by the machine's own NFS server, which Linux has to have installed (Debian and Ubuntu: nfs-kernel-server). docs/laptop.md has ways without Vagrant."
}

# get_toolkit leaves the toolkit, and the driver that is inside, in ./cuda.
get_toolkit() {
    archive=cuda/${CUDA_URL##*/} url=$CUDA_URL digest=$CUDA_SHA256
    what="The toolkit" times=3
    wrong="Check that CUDA_VERSION, CUDA_DRIVER, CUDA_SHA256 and CUDA_URL at the top of run.sh belong together."
    if [ -d "$toolkit" ] && [ -f "cuda/$driver" ]; then
        say "CUDA $CUDA_VERSION and its driver $CUDA_DRIVER are already unpacked in ./cuda."
        return
    fi
    if [ -f "$archive" ]; then verify "$archive"; else download; fi
    unpack
}

# get_driver leaves NVIDIA's package of the driver alone in ./cuda.
get_driver() {
    local row
    row=$(grep "/$driver\$" "$known") ||
        die "no digest of $driver is known. Name a driver that $known has with CUDA_DRIVER."
    archive=cuda/$driver url=$DRIVER_URL/${row##* } digest=${row%% *}
    what="The driver" times=1
    wrong="Check CUDA_DRIVER and DRIVER_URL."
    if [ -f "$archive" ]; then verify "$archive"; else download; fi
    say "The driver is $archive."
}

# set_newer_aside sees to it that the driver which was asked for is built: the container
# takes the newest package there is. One that the user put there, and asked for no other,
# stays.
set_newer_aside() {
    local package version
    for package in cuda/NVIDIA-Linux-x86_64-*.run; do
        version=${package##*-} version=${version%.run}
        newer "$version" "$CUDA_DRIVER" || continue
        if [ "$TOOLKIT" = yes ] && [ -z "$asked" ]; then
            say "$package is newer than $CUDA_DRIVER, so its modules are built."
            continue
        fi
        mv -f "$package" "$package.aside" || die "cannot rename $package."
        say "$package is newer than $CUDA_DRIVER, and is $package.aside now."
    done
}

# newer says whether version $1 is newer than $2.
newer() {
    printf '%s\n%s\n' "$2" "$1" | awk -F . '
        NR == 1 { for (i = 1; i <= 4; i++) old[i] = $i + 0 }
        NR == 2 { for (i = 1; i <= 4; i++) if ($i + 0 != old[i]) exit !($i + 0 > old[i]) ; exit 1 }'
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
            say "Resuming $url at $(file_size "$part") bytes"
        else
            say "Downloading $url"
        fi
        status=0
        curl "$meter" -fL --connect-timeout 30 --speed-limit 1000 --speed-time 60 \
            -C - -o "$part" "$url" || status=$?
        case $status in
        0) return ;;
        22) die "the server refused $url. $wrong" ;;
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
    curl -sfIL --connect-timeout 30 "$url" 2>/dev/null | tr -d '\r' |
        awk '/^HTTP/ { size = 0 } tolower($1) == "content-length:" { size = $2 } END { if (size > 0) print size }' || true
}

file_size() {
    if [ -f "$1" ]; then wc -c <"$1" | tr -d ' '; else echo 0; fi
}

# check_space says what is about to be used. Unpacked, a toolkit takes about
# twice the room of its archive, which stays beside it; a driver stays as it is.
check_space() {
    local size=$1 have=$2 free needed
    [ -n "$size" ] || return 0
    free=$(df -Pk cuda | awk 'NR == 2 { print $4 }')
    needed=$(((size * times - have) / 1024))
    say "$what is $(mib $((size / 1024))) to download, and takes $(mib "$needed"); $(mib "$free") are free in $PWD/cuda."
    [ "$free" -ge "$needed" ] || die "not enough disk space: $(mib "$needed") are needed in $PWD/cuda, $(mib "$free") are free."
}

mib() { echo "$(($1 / 1024)) MiB"; }

# verify stops everything unless $1 is the file that the digest names. What is not goes
# out of the way, so that the next run fetches it anew.
verify() {
    local sum
    say "Checking the SHA-256 of $1"
    sum=$(sha256 "$1") || die "cannot read $1."
    [ "$sum" = "$digest" ] && return
    mv -f "$1" "$1.wrong" || die "cannot rename $1."
    die "$1 is not the file it should be, and is $1.wrong now: its SHA-256 is $sum, expected $digest. Run this again to fetch it anew. If that does not help: $wrong"
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
