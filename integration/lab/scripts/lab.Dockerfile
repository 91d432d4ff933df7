# contrib, non-free and non-free-firmware in a file of their own, from the same mirror.
RUN mirror=$(sed -nE 's/^(deb|URIs:) +(http[^ ]*).*/\2/p' /etc/apt/sources.list.d/debian.sources | head -n 1) \
    && printf 'Types: deb\nURIs: %s\nSuites: bookworm\nComponents: contrib non-free non-free-firmware\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n' \
        "$mirror" >/etc/apt/sources.list.d/lab.sources \
    && apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
        git \
        kmod \
        makeself \
        qemu-system-x86 \
        shellcheck \
        vagrant \
        xz-utils \
        zstd \
    && rm -rf /var/cache/apt/*
