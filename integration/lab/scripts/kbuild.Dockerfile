# What kbuild needs, for this machine's architecture and for arm64. pahole was
# part of dwarves until Debian bookworm.
RUN pahole=pahole \
    && if grep -q bullseye /etc/os-release; then pahole=dwarves; fi \
    && apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
        bc \
        binutils \
        bison \
        cpio \
        flex \
        gcc \
        gcc-aarch64-linux-gnu \
        kmod \
        libc6-dev \
        libc6-dev-arm64-cross \
        libdw-dev \
        libelf-dev \
        libssl-dev \
        make \
        $pahole \
        perl \
        python3 \
        rsync \
        xz-utils \
        zstd \
    && rm -rf /var/cache/apt/* /var/lib/apt/lists/*
