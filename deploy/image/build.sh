#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Builds the image without a container engine: buildah with chroot isolation, on a Debian 13 that mmdebstrap makes from the package
# mirror. Then looks at the result and starts it. `./dev image` installs what is missing and calls this. As root.
#
#   build.sh [--tag NAME] [--cached] [--no-proof]
#     --tag NAME    default localhost/postern:VERSION
#     --cached      reuses layers of earlier builds: quicker, for trying things; what is published is built without
#     --no-proof    does not start it
#
# Environment: MIRROR (default http://deb.debian.org), DEBIAN_SNAPSHOT (see Dockerfile), POSTERN_IMAGE_FOLDER (default .cache/image).
# Leaves FOLDER/postern.oci (an OCI archive: docker load, skopeo copy, az acr import) and prints one line for each finding;
# the last is `image TAG DIGEST BYTES`.
set -euo pipefail
cd "$(dirname "$0")/../.."

LARGEST=$((15 * 1024 * 1024))
MIRROR=${MIRROR:-http://deb.debian.org}
folder=${POSTERN_IMAGE_FOLDER:-$PWD/.cache/image}
version=$(sed -n 's/^project(postern VERSION \([0-9.]*\).*/\1/p' CMakeLists.txt)
tag=localhost/postern:$version
fresh=yes
proof=yes
while [ $# -gt 0 ]; do
    case $1 in
    --tag) tag=$2 && shift ;;
    --cached) fresh="" ;;
    --no-proof) proof="" ;;
    *) sed -n '/^# *build.sh/,/^# Env/p' "$0" >&2 && exit 2 ;;
    esac
    shift
done
[ "$(id -u)" = 0 ] || { echo "image: only root can make a root file system; try: sudo deploy/image/build.sh" >&2 && exit 1; }
mkdir -p "$folder"

# overlay where the kernel lets us mount one in that folder, else vfs, which copies each layer and so takes longer.
choose_driver() {
    mkdir -p "$folder"/probe/{lower,upper,work,merged}
    driver=vfs
    unshare --mount mount -t overlay overlay "$folder/probe/merged" \
        -o "lowerdir=$folder/probe/lower,upperdir=$folder/probe/upper,workdir=$folder/probe/work" 2>/dev/null && driver=overlay
    rm -rf "$folder/probe"
}

store() { buildah --root "$folder/$driver" --runroot "$folder/run-$driver" --storage-driver "$driver" "$@"; }

say() { echo "image: $*" >&2; }

# The base by the name the Dockerfile uses, as if it had been pulled: what the official image of that name holds, smaller.
base() {
    local name=docker.io/library/debian:trixie-slim container
    [ -z "$(store images -q "$name" 2>/dev/null)" ] || return 0
    say "Debian 13 from $MIRROR"
    cat >"$folder/debian.sources" <<SOURCES
Types: deb
URIs: $MIRROR/debian
Suites: trixie trixie-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: $MIRROR/debian-security
Suites: trixie-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
SOURCES
    mmdebstrap --quiet --variant=minbase --include=ca-certificates \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        --dpkgopt='path-exclude=/usr/share/info/*' trixie "$folder/base.tar" "$folder/debian.sources" >&2
    container=$(store from scratch)
    store add -q "$container" "$folder/base.tar" / >/dev/null
    store commit -q --rm "$container" "$name" >/dev/null
    rm "$folder/base.tar"
}

build() {
    local revision moment
    revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
    [ -z "$(git status --porcelain -- CMakeLists.txt Dockerfile LICENSE proxy filters config deploy/image 2>/dev/null)" ] ||
        revision=$revision-changed
    moment=$(git log -1 --format=%ct 2>/dev/null || echo 0)
    say "$tag from $revision"
    # shellcheck disable=SC2086
    store bud --isolation chroot --pull-never --layers ${fresh:+--no-cache} --timestamp "$moment" \
        --build-arg DEBIAN_SNAPSHOT="${DEBIAN_SNAPSHOT:-}" --build-arg REVISION="$revision" --build-arg VERSION="$version" \
        --build-arg SOURCE_DATE_EPOCH="$moment" --format oci --identity-label=false --tag "$tag" . >"$folder/build.log" 2>&1 ||
        { tail -n 40 "$folder/build.log" >&2 && exit 1; }
    store push -q --digestfile "$folder/digest" "$tag" "oci-archive:$folder/postern.oci:$tag" >/dev/null
}

# The image's files, mounted at $mounted while `container` exists.
mount_image() {
    container=$(store from --pull-never "$tag")
    mounted=$(store mount "$container")
    trap 'store umount "$container" >/dev/null; store rm "$container" >/dev/null' EXIT
}

look() {
    bytes=$(find "$mounted" -type f -printf '%s\n' | awk '{sum += $1} END {print sum}')
    say "$bytes bytes of files; at most $LARGEST are allowed"
    [ "$bytes" -le "$LARGEST" ]
    local extra
    extra=$(find "$mounted" -type f -perm /111 ! -name postern ! -name '*.so*')
    [ -z "$extra" ] || { say "programs that do not belong there: $extra" && return 1; }
}

# Starts it as Kubernetes would: its own root, read-only, as 65532, without capabilities, and with no network but loopback.
prove() {
    say "starting it"
    unshare --mount --net --pid --fork --mount-proc bash -euo pipefail -c "$PROOF" proof "$mounted" >&2
}

PROOF=$(
    cat <<'END'
root=$1
ip link set lo up
mount --bind "$root" "$root"
mount -o remount,bind,ro,nosuid,nodev "$root"
chroot --userspec=65532:65532 "$root" /usr/bin/postern version
! touch "$root/written" 2>/dev/null || { echo "image: the root could be written"; exit 1; }
chroot --userspec=65532:65532 "$root" /usr/bin/postern demo >/dev/null &
postern=$!
curl -fsS -o /dev/null --retry 20 --retry-connrefused --retry-delay 1 http://127.0.0.1:4611/readyz
answer=$(curl -fsS http://127.0.0.1:4610/v1/chat/completions -H 'content-type: application/json' \
    -d '{"model": "gpt-4o", "messages": [{"role": "user", "content": "Are you there?"}]}')
case $answer in
*'"object":"chat.completion"'*) echo "image: postern demo answered a completion" ;;
*) echo "image: no completion: $answer" && exit 1 ;;
esac
kill -TERM $postern
wait $postern
END
)

choose_driver
base
build
mount_image
look
[ -z "$proof" ] || prove
echo "image $tag $(cat "$folder/digest") $bytes"
