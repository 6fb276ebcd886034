# mount: a bucket of Cloud Storage → a folder of this machine, by rclone. `make mount` builds it.
FROM debian:bookworm-slim
LABEL org.opencontainers.image.title="albert-ja/mount" \
      org.opencontainers.image.description="A bucket of Cloud Storage as a folder" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN apt-get update \
    && apt-get install --yes --no-install-recommends 'rclone=1.60.1*' 'fuse3=3.14.0*' 'ca-certificates=2*' \
    && rm -rf /var/lib/apt/lists/*
COPY --chmod=755 mount.sh /usr/local/bin/mount-bucket
# HOME is the one place beside the cache that is writable under a read-only root.
ENV HOME=/tmp
# No USER: the kernel lets only root mount. compose.yaml says what else it may and may not.
ENTRYPOINT ["mount-bucket"]
