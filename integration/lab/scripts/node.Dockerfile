RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends busybox-static containernetworking-plugins iproute2 mount procps runc socat \
    && rm -rf /var/cache/apt/* /var/lib/apt/lists/*
