# SPDX-License-Identifier: Apache-2.0
#
# The image: one binary, the shared libraries it needs, the CA bundle. No shell, no package manager, nobody but 65532.
#
#   docker build --build-arg REVISION=$(git rev-parse HEAD) --build-arg SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) -t postern .
#   ./dev image        the same where no container engine runs, proven by starting it
#
# deploy/README.md ("Image") says what is in it and how the same commit becomes the same digest.
ARG BASE=docker.io/library/debian:trixie-slim
FROM ${BASE} AS build

# A moment such as 20261101T000000Z takes every package from snapshot.debian.org as it was then; empty takes the mirror's newest.
ARG DEBIAN_SNAPSHOT=""
RUN set -eu; \
    if [ -n "$DEBIAN_SNAPSHOT" ]; then \
        sed -i "s|//deb.debian.org/debian\(-security\)\?|//snapshot.debian.org/archive/debian\1/$DEBIAN_SNAPSHOT|" /etc/apt/sources.list.d/debian.sources; \
        echo 'Acquire::Check-Valid-Until "false";' > /etc/apt/apt.conf.d/10snapshot; \
    fi; \
    apt-get -qq update; \
    DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o Dpkg::Use-Pty=0 install --no-install-recommends \
        gcc libc6-dev cmake ninja-build pkg-config ca-certificates \
        libevent-dev libssl-dev libnghttp2-dev libhiredis-dev libc-ares-dev libyaml-dev libzstd-dev

COPY CMakeLists.txt LICENSE /src/
COPY proxy /src/proxy
COPY filters /src/filters
COPY config /src/config
COPY deploy/image /src/deploy/image

# Warnings stay errors in the tests; a newer compiler's new warning shall not keep anybody from an image.
RUN cmake -G Ninja -S /src -B /build -DPOSTERN_TESTS=OFF -DPOSTERN_WERROR=OFF -DPOSTERN_LTO=ON && cmake --build /build --target postern

ARG REVISION=unknown
ARG SOURCE_DATE_EPOCH=0
RUN REVISION="$REVISION" SOURCE_DATE_EPOCH="$SOURCE_DATE_EPOCH" sh /src/deploy/image/root.sh /build/postern /image

FROM scratch
ARG REVISION=unknown
ARG VERSION=unknown
LABEL org.opencontainers.image.title="postern" \
      org.opencontainers.image.description="Gateway for applications on AKS that call OpenAI models: sidecar, gateway and injector" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="scratch"
COPY --from=build /image/ /
USER 65532:65532
WORKDIR /
# 4610 applications, 4611 probes and metrics, 8443 TLS: gateway and injector
EXPOSE 4610 4611 8443
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/postern"]
CMD ["run", "--config", "/etc/postern"]
