# train: TFRecords → a trained ALBERT checkpoint, with PyTorch; evaluation, fine-tuning. `make image/train` builds it, and
# `make image/train-cuda` the one for NVIDIA's GPUs.
FROM python:3.11-slim-bookworm AS compiler
COPY stages/compiler.lock /
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv --without-pip /compiler \
    && pip --python /compiler/bin/python install --require-hashes -r /compiler.lock

FROM python:3.11-slim-bookworm AS builder
WORKDIR /app
RUN python -m venv --without-pip /venv
# Nothing, or -cuda.
ARG TORCH=
COPY stages/train/torch$TORCH.lock stages/train/
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /venv/bin/python install --require-hashes --no-deps --retries 1 \
        --find-links https://download.pytorch.org/whl/torch/ -r stages/train/torch$TORCH.lock
COPY stages/train/requirements.lock stages/train/
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /venv/bin/python install --require-hashes -r stages/train/requirements.lock
# What only those need who build or test PyTorch: 145 MB.
RUN rm -rf /venv/lib/python3.11/site-packages/torch/test /venv/lib/python3.11/site-packages/torch/include
COPY stages/__init__.py stages/compiled.py stages/handover.py stages/preflight.py stages/
COPY stages/devices.py stages/estimates.py stages/
COPY stages/storage.py stages/cloud_storage.py stages/lock.py stages/refusal.py stages/stopping.py stages/
COPY stages/words/*.py stages/words/*.c stages/words/
COPY stages/formats stages/formats
COPY stages/tpu_train/configs stages/tpu_train/configs
COPY stages/evaluate stages/evaluate
COPY stages/finetune stages/finetune
COPY stages/train stages/train
RUN --mount=type=bind,from=compiler,source=/compiler,target=/compiler \
    /compiler/bin/python -m stages.compiled && python -m compileall -q stages

FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="albert-ja/train" \
      org.opencontainers.image.description="Japanese ALBERT pretraining, evaluation and fine-tuning with PyTorch" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN pip uninstall --yes --root-user-action=ignore setuptools wheel pip
COPY --from=builder /venv /venv
COPY --from=builder /app /app
# HOME is the one place that is writable under a read-only root, whoever runs the container.
ENV PATH=/venv/bin:$PATH PYTHONPATH=/app PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp
WORKDIR /app
USER 1000:1000
ENTRYPOINT ["python", "-m", "stages.train"]
