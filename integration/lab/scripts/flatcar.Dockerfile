# What builds a kernel of Flatcar's alpha has its gcc, its C library, and the names that
# its SDK has for a cross compiler's programs.
RUN cd /usr/local/bin \
    && ln -s /usr/bin/gcc-15 x86_64-cros-linux-gnu-gcc \
    && for tool in ar ld nm objcopy objdump readelf strip; do ln -s /usr/bin/$tool x86_64-cros-linux-gnu-$tool; done
