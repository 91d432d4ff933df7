RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends etcd-server \
    && rm -rf /var/cache/apt/* /var/lib/apt/lists/*
