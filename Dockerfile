# The three images of pod2iam: docker build --target sidecar|injector|node-guard .
#
# Bases are named by tag here, because this file is also built where digests cannot be checked. The release resolves each tag to its
# digest once, checks distroless's signature, and builds all images with these digests (.github/workflows/release.yaml); the
# provenance of an image names them.
ARG BUILD_IMAGE=docker.io/library/node:24-trixie-slim
ARG TOOLS_IMAGE=docker.io/library/debian:trixie-slim
# Node and the libraries it is linked to; no shell, no package manager. Only the sidecar's image gets a shell, for its start hook.
ARG RUNTIME_IMAGE=gcr.io/distroless/nodejs24-debian13:nonroot

# The bundles are the same for every architecture, so they are built once, on the builder's own.
FROM --platform=$BUILDPLATFORM ${BUILD_IMAGE} AS build
WORKDIR /src
COPY package.json package-lock.json .npmrc ./
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY build.ts ./
COPY common ./common
COPY sidecar ./sidecar
COPY injector ./injector
COPY node-guard ./node-guard
COPY cli ./cli
RUN node build.ts

# The programs that the firewall runs (nft, ip, both variants of iptables, socat, prlimit), with their libraries and the extensions of
# iptables. They are copied to the runtime, which has glibc from the same Debian release, so that no runtime with a shell is needed.
FROM ${TOOLS_IMAGE} AS tools
RUN apt-get update \
 && apt-get install -y --no-install-recommends nftables iptables iproute2 socat \
 && rm -rf /var/lib/apt/lists/*
RUN set -eu; \
    sbin=/tools/usr/sbin; \
    mkdir -p "$sbin"; \
    for name in nft ip socat prlimit xtables-nft-multi xtables-legacy-multi; do \
      cp -L "$(command -v "$name")" "$sbin/$name"; \
    done; \
    for name in iptables-nft iptables-nft-save iptables-nft-restore ip6tables-nft ip6tables-nft-save ip6tables-nft-restore; do \
      ln -s xtables-nft-multi "$sbin/$name"; \
    done; \
    for name in iptables-legacy iptables-legacy-save iptables-legacy-restore ip6tables-legacy ip6tables-legacy-save ip6tables-legacy-restore; do \
      ln -s xtables-legacy-multi "$sbin/$name"; \
    done; \
    extensions=$(dirname "$(readlink -f "$(ls -d /usr/lib/*/xtables/libxt_tcp.so)")"); \
    mkdir -p "/tools$extensions"; \
    cp -L "$extensions"/*.so "/tools$extensions/"; \
    ldd "$sbin"/nft "$sbin"/ip "$sbin"/socat "$sbin"/prlimit "$sbin"/xtables-*-multi "$extensions"/*.so \
      | sed -n 's/.* => \(\/[^ ]*\) .*/\1/p' | sort -u \
      | grep -v -E '/(libc|libm|libdl|libpthread|libresolv|librt)\.so' \
      | while read -r library; do \
          directory=$(readlink -f "$(dirname "$library")"); \
          mkdir -p "/tools$directory"; \
          cp -L "$library" "/tools$directory/"; \
        done

# The programs that the sidecar's start hook runs: dash and sleep, which are linked only to glibc, like node. A second Node.js process
# instead would double the CPU time of a pod's start.
RUN set -eu; \
    mkdir -p /shell/usr/bin; \
    cp -L "$(command -v sh)" /shell/usr/bin/sh; \
    cp -L "$(command -v sleep)" /shell/usr/bin/sleep; \
    if ldd /shell/usr/bin/sh /shell/usr/bin/sleep | grep ' => ' | grep -v -E '/libc\.so'; then exit 1; fi

FROM ${RUNTIME_IMAGE} AS sidecar
ARG VERSION=dev
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="pod2iam sidecar" \
      org.opencontainers.image.description="The metadata service of one pod, with its own credentials" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"
COPY --from=tools /shell/ /
COPY LICENSE /pod2iam/
COPY --chmod=0755 sidecar/wait-started /pod2iam/
COPY --from=build /src/dist/sidecar.cjs* /pod2iam/
USER 65532:65532
# Flags and glibc settings that cost no start time and save 1.7 MiB in every pod (sidecar/README.md).
ENV MALLOC_TRIM_THRESHOLD_=4096 MALLOC_TOP_PAD_=0
ENTRYPOINT ["/nodejs/bin/node", "--max-semi-space-size=1", "--v8-pool-size=0", "/pod2iam/sidecar.cjs"]
CMD []

FROM ${RUNTIME_IMAGE} AS injector
ARG VERSION=dev
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="pod2iam injector" \
      org.opencontainers.image.description="The admission webhook that gives annotated pods their sidecar" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"
COPY LICENSE /pod2iam/
# The command line as well, for `kubectl exec`; it can read what the injector's service account can read.
COPY --from=build /src/dist/injector.cjs* /src/dist/pod2iam.cjs* /pod2iam/
USER 65532:65532
# These flags halve the memory (injector/README.md).
ENTRYPOINT ["/nodejs/bin/node", "--optimize-for-size", "--v8-pool-size=0", "--max-old-space-size=96", "/pod2iam/injector.cjs"]
CMD []

FROM ${RUNTIME_IMAGE} AS node-guard
ARG VERSION=dev
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="pod2iam node guard" \
      org.opencontainers.image.description="Firewall, gate and broker of a node" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"
COPY --from=tools /tools/ /
COPY LICENSE /pod2iam/
COPY --from=build /src/dist/firewall.cjs* /src/dist/broker.cjs* /src/dist/kubeconfig.cjs* /pod2iam/
# nft wants to be root; NET_ADMIN is all that pods give it. The broker runs from this image under an id of its own, with the
# command that the chart says.
USER 0:0
ENTRYPOINT ["/nodejs/bin/node", "/pod2iam/firewall.cjs"]
CMD []
