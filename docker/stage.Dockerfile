# The image of a stage of Python 3.11: `docker compose build vocab`, or `make image/vocab`.
FROM python:3.11-slim-bookworm AS compiler
COPY stages/compiler.lock /
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv --without-pip /compiler \
    && pip --python /compiler/bin/python install --require-hashes -r /compiler.lock

FROM python:3.11-slim-bookworm AS builder
# Its folder in stages/; other folders there that it needs, beside the rooms; and -cuda, where PyTorch is the build for GPUs.
ARG STAGE PARTS TORCH=
WORKDIR /app
COPY stages/$STAGE/*.lock /locks/
# The headers and tests of PyTorch take 145 MB, and only who builds it needs them.
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv --without-pip /venv \
    && if [ -e "/locks/torch$TORCH.lock" ]; then \
        pip --python /venv/bin/python install --require-hashes --no-deps --retries 1 \
            --find-links https://download.pytorch.org/whl/torch/ -r "/locks/torch$TORCH.lock"; fi \
    && pip --python /venv/bin/python install --require-hashes -r /locks/requirements.lock \
    && rm -rf /venv/lib/python3.11/site-packages/torch/test /venv/lib/python3.11/site-packages/torch/include
RUN --mount=type=bind,source=stages,target=/stages \
    --mount=type=bind,from=compiler,source=/compiler,target=/compiler \
    mkdir stages && cp -p /stages/*.py stages/ \
    && for part in command handover engine formats words $PARTS "$STAGE"; do mkdir -p "stages/$part" && cp -rp "/stages/$part/." "stages/$part/"; done \
    && /compiler/bin/python -m stages.compiled && python -m compileall -q stages

FROM python:3.11-slim-bookworm
ARG STAGE
LABEL org.opencontainers.image.title="albert-ja/$STAGE" \
      org.opencontainers.image.description="Japanese ALBERT: the stage $STAGE" \
      org.opencontainers.image.licenses="Apache-2.0"
# /cluster: for the token of a Ray cluster, a volume, which whoever runs the head may write.
RUN pip uninstall --yes --root-user-action=ignore setuptools wheel pip \
    && if [ "$STAGE" = cluster ]; then install --directory --mode=1777 /cluster; fi
COPY --from=builder /venv /venv
COPY --from=builder /app /app
# HOME is the one place that is writable under a read-only root, whoever runs the container.
ENV STAGE=$STAGE PATH=/venv/bin:$PATH PYTHONPATH=/app PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp
WORKDIR /app
USER 1000:1000
ENTRYPOINT ["sh", "-c", "exec python -m \"stages.$STAGE\" \"$@\"", "stage"]
