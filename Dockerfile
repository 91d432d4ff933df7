# The image `cuda`: builder, and what it runs to build a kernel module.
#
#     docker build -t cuda .
#     docker build -t cuda --build-arg BASE=debian:bullseye-slim --build-arg COMPILERS="10 9" .
#
#     docker build -t cuda --build-arg BASE=debian:forky-slim --build-arg COMPILERS=15 .
#
#     docker build -t cuda:arm64 --build-arg CROSS=arm64 .
#
# The second has the compilers of older kernels, bullseye's gcc 10 and 9 instead
# of trixie's, and the third that of the newest. (Which lines builder takes is OldestTried of pkg/kernel.)
# The fourth has beside its own the same compilers for arm64. Written for Docker's legacy builder: no heredocs, no RUN --mount.

# What the tools run on; its Debian release decides which compilers there are:
# trixie has gcc 12 to 14, bookworm 11 and 12, bullseye 9 and 10.
ARG BASE=debian:trixie-slim
# Only compiles: nothing of it is in the result but one static binary.
ARG GO_IMAGE=golang:1.26-trixie

FROM ${GO_IMAGE} AS builder
WORKDIR /src
# The modules first: they change less often than the source.
COPY go.mod go.sum ./
# Go asks a proxy once for each module; what has come is kept.
RUN go mod download || go mod download || go mod download
COPY . .
# .git is not in the context, so the source itself says which source it is:
# a rerun with another builder is another build.
RUN digest=$(find cmd internal pkg go.mod go.sum -type f -print0 \
        | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -d' ' -f1) \
    && CGO_ENABLED=0 go build -trimpath -buildvcs=false \
        -ldflags "-s -w -X main.sourceDigest=sha256:$digest" -o /builder ./cmd/builder
# What the licences of the modules in the binary ask for: their texts.
RUN mkdir /licenses && cp "$(go env GOROOT)/LICENSE" /licenses/go \
    && go list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Dir}}{{end}}{{end}}' ./cmd/builder | sort -u \
        | while read -r module dir; do \
            mkdir -p "/licenses/$module" \
            && find "$dir" -maxdepth 1 -type f -iregex '.*/\(licen[cs]e\|copying\|notice\|patents\)[^/]*' -exec cp '{}' "/licenses/$module/" ';' \
            && ls "/licenses/$module/"* >/dev/null || exit 1; \
        done

FROM ${BASE}
# Major versions of gcc, the first of them the image's default. A kernel's
# modules are built with the compiler that built the kernel where it is here.
ARG COMPILERS="14 13 12"
# Another architecture, by Debian's name (arm64, and amd64 on an arm64 machine), for whose
# kernels there are the same compilers. Those that kbuild runs for itself stay this one's.
ARG CROSS=
# What the packages have beyond what kbuild uses is not unpacked, which halves
# the image: gcc's link-time optimizer (kernels are built with it by clang
# only), its sanitizers' and coverage's programs and libraries (a kernel has its
# own), static libraries (the tools that kbuild makes for itself are dynamic;
# libgcc.a and libc_nonshared.a are in every program), gprofng, and what people
# read, but for licences. `dpkg --verify` lists all of it as missing.
RUN printf 'path-exclude=%s\n' \
        '/usr/lib*/gcc/*/lto1' \
        '/usr/bin/*lto-dump*' \
        '/usr/bin/*gcov*' \
        '/usr/lib/*/lib*san.a' \
        '/usr/lib/*/lib*san.so*' \
        '/usr/lib/*-linux-gnu/lib[cm].a' \
        '/usr/lib/*-linux-gnu/libm-*.a' \
        '/usr/lib/*-linux-gnu/libmvec.a' \
        '/usr/lib/*-linux-gnu/libcrypto.a' \
        '/usr/lib/*-linux-gnu/libssl.a' \
        '/usr/lib/*-linux-gnu/libdw.a' \
        '/usr/lib/*-linux-gnu/libelf.a' \
        '/usr/lib/*-linux-gnu/liblzma.a' \
        '/usr/lib/*-linux-gnu/libz.a' \
        '/usr/lib/*-linux-gnu/libzstd.a' \
        '/usr/bin/*gp-*' \
        '/usr/bin/*gprofng*' \
        '/usr/lib/*/*gprofng*' \
        '/usr/share/doc/*' \
        '/usr/share/info/*' \
        '/usr/share/locale/*' \
        '/usr/share/man/*' \
        >/etc/dpkg/dpkg.cfg.d/cuda \
    && echo 'path-include=/usr/share/doc/*/copyright' >>/etc/dpkg/dpkg.cfg.d/cuda
# pahole was part of dwarves until Debian bookworm. ca-certificates are for
# GitHub; libdw is for kernels with GENDWARFKSYMS; the rest is what kbuild runs,
# and the perl that every Debian has.
RUN pahole=pahole \
    && if grep -q bullseye /etc/os-release; then pahole=dwarves; fi \
    && compilers=$(printf 'gcc-%s ' ${COMPILERS}) \
    && case "${CROSS}" in \
        "") cross= ;; \
        arm64) cross=aarch64-linux-gnu ;; \
        amd64) cross=x86_64-linux-gnu ;; \
        *) echo "CROSS has to be arm64 or amd64, and is ${CROSS}" >&2; exit 1 ;; \
    esac \
    && if [ -n "${cross}" ]; then \
        compilers="$compilers $(printf "gcc-%s-$(echo "${cross}" | tr _ -) " ${COMPILERS})" \
        && printf 'path-exclude=%s\n' '/usr/lib*/gcc-cross/*/lto1' '/usr/*-linux-gnu/lib/lib*san.so*' '/usr/*-linux-gnu/lib/libgomp*' \
            >>/etc/dpkg/dpkg.cfg.d/cuda; \
    fi \
    && apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
        bc \
        binutils \
        bison \
        busybox-static \
        ca-certificates \
        ${compilers} \
        cpio \
        flex \
        kmod \
        libc6-dev \
        libdw-dev \
        libelf-dev \
        libssl-dev \
        make \
        ${pahole} \
        python3 \
        squashfs-tools \
        xz-utils \
        zstd \
    # Nobody becomes root here who is not.
    && find / -xdev -perm /6000 -type f -exec chmod ug-s '{}' + \
    && ln -s gcc-${COMPILERS%% *} /usr/bin/gcc \
    && ln -s gcc /usr/bin/cc \
    && if [ -n "${cross}" ]; then ln -s "${cross}-gcc-${COMPILERS%% *}" "/usr/bin/${cross}-gcc"; fi \
    && rm -rf /var/cache/apt/* /var/lib/apt/lists/* /var/log/apt /var/log/dpkg.log
# What runs in an image that builder pushes, for others than builder (see its push --help):
# a shell for them, the C library for nvidia-smi and the fabric manager, and the script
# that NVIDIA's GPU Operator calls. By links, as all of it is here already.
COPY scripts/nvidia-driver /usr/lib/cuda-builder/runtime/usr/local/bin/nvidia-driver
RUN cd /usr/lib/cuda-builder/runtime \
    && mkdir -p bin usr/share/doc \
    && ln -s "$(command -v busybox)" bin/busybox \
    && for applet in sh awk cat chmod chroot cp cut date dmesg echo env false find grep head id kill ln ls lsmod mkdir \
            mount mv ps readlink rm sed sleep sort stat tail test touch tr true umount uname wc; do \
        ln -s busybox "bin/$applet" || exit 1; \
    done \
    && ln -s /usr/local/bin/builder usr/local/bin/builder \
    && ldconfig -p | sed -n -E 's/^\t(ld-linux[^ ]*|lib(c|m|dl|pthread|rt|gcc_s|stdc\+\+)\.so\.[0-9]+) .*=> (.*)/\3/p' \
        | while read -r library; do mkdir -p ".${library%/*}" && ln -s "$library" ".$library" || exit 1; done \
    && for loader in /lib64/ld-linux* /lib/ld-linux*; do \
        if [ -e "$loader" ] && [ ! -e ".$loader" ]; then mkdir -p ".${loader%/*}" && ln -s "$loader" ".$loader" || exit 1; fi; \
    done \
    && for package in busybox-static libc6 libgcc-s1 libstdc++6 cuda-builder; do \
        mkdir "usr/share/doc/$package" && ln -s "/usr/share/doc/$package/copyright" "usr/share/doc/$package/copyright" || exit 1; \
    done
COPY LICENSE /usr/share/doc/cuda-builder/copyright
COPY --from=builder /licenses /usr/share/doc/cuda-builder/licenses
COPY --from=builder /builder /usr/local/bin/builder
LABEL org.opencontainers.image.title="cuda" \
      org.opencontainers.image.description="Builds NVIDIA kernel modules for the kernel of a CoreOS or Flatcar host" \
      org.opencontainers.image.source="https://github.com/k8sp/cuda" \
      org.opencontainers.image.licenses="Apache-2.0"
ENTRYPOINT ["/usr/local/bin/builder"]
