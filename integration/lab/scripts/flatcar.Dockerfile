# What builds a kernel of Flatcar's alpha: its gcc, its C library, and the names that
# its SDK has for a cross compiler's programs. Until it is released, this Debian's lists
# expire, and those of a mirror that lags behind are as good: they are signed.
RUN apt-get -o Acquire::Check-Valid-Until=false update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
        bc \
        binutils \
        bison \
        cpio \
        flex \
        gcc-15 \
        libc6-dev \
        libelf-dev \
        libssl-dev \
        make \
        pahole \
        perl \
        python3 \
        zstd \
    && rm -rf /var/cache/apt/* /var/lib/apt/lists/* \
    && cd /usr/local/bin \
    && ln -s /usr/bin/gcc-15 gcc \
    && ln -s /usr/bin/gcc-15 x86_64-cros-linux-gnu-gcc \
    && for tool in ar ld nm objcopy objdump readelf strip; do ln -s /usr/bin/$tool x86_64-cros-linux-gnu-$tool; done
