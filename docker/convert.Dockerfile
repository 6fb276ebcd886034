# convert: a checkpoint of either trainer → a transformers model folder. `make image/convert` builds it.
FROM python:3.11-slim-bookworm AS builder
WORKDIR /app
RUN python -m venv --without-pip /venv
COPY stages/convert/torch.lock stages/convert/
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /venv/bin/python install --require-hashes --no-deps --retries 1 \
        --find-links https://download.pytorch.org/whl/torch/ -r stages/convert/torch.lock
COPY stages/convert/requirements.lock stages/convert/
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /venv/bin/python install --require-hashes -r stages/convert/requirements.lock
# What only those need who build or test PyTorch: 145 MB.
RUN rm -r /venv/lib/python3.11/site-packages/torch/test /venv/lib/python3.11/site-packages/torch/include
COPY stages/__init__.py stages/handover.py stages/
COPY stages/storage.py stages/cloud_storage.py stages/lock.py stages/refusal.py stages/
COPY stages/words/*.py stages/words/*.c stages/words/
COPY stages/formats stages/formats
COPY stages/convert stages/convert
RUN python -m compileall -q stages

FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="albert-ja/convert" \
      org.opencontainers.image.description="TensorFlow and PyTorch ALBERT checkpoints to transformers models" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN pip uninstall --yes --root-user-action=ignore setuptools wheel pip
COPY --from=builder /venv /venv
COPY --from=builder /app /app
# HOME is the one place that is writable under a read-only root, whoever runs the container.
ENV PATH=/venv/bin:$PATH PYTHONPATH=/app PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp
WORKDIR /app
USER 1000:1000
ENTRYPOINT ["python", "-m", "stages.convert"]
