# tpu-train: TFRecords → a trained ALBERT checkpoint, with TensorFlow 1.15. `make image/tpu-train` builds it.
FROM python:3.7-slim-bookworm AS builder
WORKDIR /app
RUN python -m venv --without-pip /venv
COPY stages/tpu_train/requirements.lock stages/tpu_train/
# gast 0.2.2 is built from source: with CPython's own setuptools, where pip would fetch one that no lock names.
RUN /venv/bin/python -m ensurepip
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /venv/bin/python install --require-hashes -r stages/tpu_train/requirements.lock
# What only those need who build TensorFlow operations: 34 MB.
RUN rm -r /venv/lib/python3.7/site-packages/tensorflow_core/include && /venv/bin/python -m pip uninstall --yes pip
COPY stages/__init__.py stages/
COPY stages/command stages/command
COPY stages/handover stages/handover
COPY stages/formats/__init__.py stages/formats/albert_config.py stages/formats/pretraining.py stages/formats/shards.py \
    stages/formats/
COPY stages/tpu_train stages/tpu_train
RUN /venv/bin/python -m stages.tpu_train.patch_albert \
    && python -m compileall -q stages /venv/lib/python3.7/site-packages/albert

FROM python:3.7-slim-bookworm
LABEL org.opencontainers.image.title="albert-ja/tpu-train" \
      org.opencontainers.image.description="Japanese ALBERT pretraining on TPU or CPU with TensorFlow 1.15" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN pip uninstall --yes --root-user-action=ignore setuptools wheel pip
COPY --from=builder /venv /venv
COPY --from=builder /app /app
# HOME is the one place that is writable under a read-only root, whoever runs the container.
ENV PATH=/venv/bin:$PATH PYTHONPATH=/app PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp
WORKDIR /app
USER 1000:1000
ENTRYPOINT ["python", "-m", "stages.tpu_train"]
