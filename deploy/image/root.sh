#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# root.sh BINARY FOLDER: puts the image's file system into FOLDER. Runs in the Dockerfile's build stage.
#
# Beside the binary: its shared libraries under Debian's paths, the CA bundle, what the libraries' licences ask to come along,
# what scanners read to know the packages (/var/lib/dpkg/status.d), and the SBOM.
# Environment: REVISION (commit), SOURCE_DATE_EPOCH (time of every file).
set -eu

binary=$1
root=$2
here=$(dirname "$0")

# Where a file lies once the links of its folder (/lib, /lib64) are followed: the paths in the image are Debian's.
settled() {
    printf '%s/%s\n' "$(cd "$(dirname "$1")" && pwd -P)" "$(basename "$1")"
}

# The package that brought the file $1, whose name may itself be a link.
package_of() {
    dpkg -S "$1" 2>/dev/null || dpkg -S "$(readlink -f "$1")" 2>/dev/null || dpkg -S "${1#/usr}"
}

install -D -m 0755 "$binary" "$root/usr/bin/postern"
strip --strip-all "$root/usr/bin/postern"

for link in lib lib64; do
    if [ -L "/$link" ]; then
        mkdir -p "$root/usr/$link"
        ln -s "usr/$link" "$root/$link"
    fi
done

packages="ca-certificates"
for library in $(ldd "$binary" | awk '$2 == "=>" && $3 ~ /^\// {print $3} $1 ~ /^\// {print $1}'); do
    path=$(settled "$library")
    install -D -m 0755 "$path" "$root$path"
    packages="$packages $(package_of "$path" | sed 's/: .*//; s/:.*//' | head -n 1)"
done
packages=$(printf '%s\n' $packages | sort -u)

# OpenSSL looks at /usr/lib/ssl/cert.pem when nothing else is said.
install -D -m 0644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
mkdir -p "$root/usr/lib/ssl"
ln -s /etc/ssl/certs/ca-certificates.crt "$root/usr/lib/ssl/cert.pem"

cat >"$root/etc/passwd" <<'PASSWD'
root:x:0:0:root:/:/sbin/nologin
postern:x:65532:65532:postern:/:/sbin/nologin
PASSWD
printf 'root:x:0:\npostern:x:65532:\n' >"$root/etc/group"
printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"
install -m 0644 /etc/os-release "$root/etc/os-release"
mkdir -p "$root/etc/postern" "$root/tmp"
chmod 1777 "$root/tmp"

for package in $packages; do
    mkdir -p "$root/var/lib/dpkg/status.d"
    dpkg-query -s "$package" >"$root/var/lib/dpkg/status.d/$package"
    install -D -m 0644 "/usr/share/doc/$package/copyright" "$root/usr/share/doc/$package/copyright"
done
install -D -m 0644 /src/LICENSE "$root/usr/share/doc/postern/copyright"
# shellcheck disable=SC2086
sh "$here/sbom.sh" "$root/usr/bin/postern" $packages >"$root/usr/share/doc/postern/sbom.spdx.json"

find "$root" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
