# tfrecords: corpus and vocabularies → gzip TFRecords of training examples. `make image/tfrecords` builds it.
FROM python:3.11-slim-bookworm AS compiler
COPY stages/compiler.lock /
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv --without-pip /compiler \
    && pip --python /compiler/bin/python install --require-hashes -r /compiler.lock

FROM python:3.11-slim-bookworm AS builder
WORKDIR /app
RUN python -m venv --without-pip /venv
COPY stages/tfrecords/requirements.lock stages/tfrecords/
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /venv/bin/python install --require-hashes -r stages/tfrecords/requirements.lock
COPY stages/__init__.py stages/compiled.py stages/handover.py stages/
COPY stages/engine.py stages/local_engine.py stages/slots.py stages/
COPY stages/storage.py stages/cloud_storage.py stages/lock.py stages/refusal.py stages/
COPY stages/words/*.py stages/words/*.c stages/words/
COPY stages/formats stages/formats
COPY stages/tfrecords stages/tfrecords
RUN --mount=type=bind,from=compiler,source=/compiler,target=/compiler \
    /compiler/bin/python -m stages.compiled && python -m compileall -q stages

FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="albert-ja/tfrecords" \
      org.opencontainers.image.description="A corpus and its vocabularies to TFRecords for ALBERT" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN pip uninstall --yes --root-user-action=ignore setuptools wheel pip
COPY --from=builder /venv /venv
COPY --from=builder /app /app
# HOME is the one place that is writable under a read-only root, whoever runs the container.
ENV PATH=/venv/bin:$PATH PYTHONPATH=/app PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp
WORKDIR /app
USER 1000:1000
ENTRYPOINT ["python", "-m", "stages.tfrecords"]
