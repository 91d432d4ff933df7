# shellcheck shell=bash
# Makes the image debian:SUITE-slim, as near to the real one as is useful.
# $1 unpacked debootstrap, $2 suite, $3 an empty folder, $4 mirror, $5 its
# security archive, $6 image, $7 label

cat >"$3.sources" <<EOF
Types: deb
URIs: $4
Suites: $2 $2-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: $5
Suites: $2-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
EOF
trap 'rm -f "$3.sources"' EXIT
# A mirror may stand still, for runs to be alike; only what is no release yet expires.
if [ "$2" = forky ]; then sed -i 's/^Types: deb$/&\nCheck-Valid-Until: no/' "$3.sources"; fi

DEBOOTSTRAP_DIR="$1/usr/share/debootstrap" "$1/usr/sbin/debootstrap" --variant=minbase "$2" "$3" "$4" 2>&1

cd "$3" || exit
rm -f etc/apt/sources.list
mkdir -p etc/apt/sources.list.d etc/dpkg/dpkg.cfg.d
cp "$3.sources" etc/apt/sources.list.d/debian.sources
# A connection that breaks off fails no run of tests; the apt of bullseye tries once.
echo 'Acquire::Retries "5";' >etc/apt/apt.conf.d/80-retries
# What the real image leaves out, now and of later packages; licences stay.
cat >etc/dpkg/dpkg.cfg.d/docker <<EOF
path-exclude /usr/share/doc/*
path-include /usr/share/doc/*/copyright
path-exclude /usr/share/info/*
path-exclude /usr/share/locale/*
path-exclude /usr/share/man/*
EOF
find usr/share/doc -type f ! -name copyright -delete
rm -rf usr/share/info/* usr/share/locale/* usr/share/man/* var/cache/apt/* var/lib/apt/lists/* var/log/*.log dev/*

tar --numeric-owner -c . | docker import --change 'CMD ["bash"]' --change "LABEL $7" - "$6"
