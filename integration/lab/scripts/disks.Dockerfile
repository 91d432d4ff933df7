RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends btrfs-progs busybox-static e2fsprogs fdisk \
    && rm -rf /var/cache/apt/* /var/lib/apt/lists/*
