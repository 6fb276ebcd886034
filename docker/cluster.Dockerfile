# cluster: corpus, vocab and tfrecords as tasks of a Ray cluster: its head, its workers and the driver.
FROM python:3.11-slim-bookworm AS compiler
COPY stages/compiler.lock /
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv --without-pip /compiler \
    && pip --python /compiler/bin/python install --require-hashes -r /compiler.lock

FROM python:3.11-slim-bookworm AS builder
WORKDIR /app
RUN python -m venv --without-pip /venv
COPY stages/cluster.lock stages/
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /venv/bin/python install --require-hashes -r stages/cluster.lock
COPY stages/__init__.py stages/compiled.py stages/handover.py stages/
COPY stages/engine.py stages/ray_engine.py stages/local_engine.py stages/slots.py stages/
COPY stages/storage.py stages/cloud_storage.py stages/lock.py stages/refusal.py stages/
COPY stages/transfer.py stages/
COPY stages/words/*.py stages/words/*.c stages/words/
COPY stages/formats stages/formats
COPY stages/corpus stages/corpus
COPY stages/vocab stages/vocab
COPY stages/tfrecords stages/tfrecords
RUN --mount=type=bind,from=compiler,source=/compiler,target=/compiler \
    /compiler/bin/python -m stages.compiled && python -m compileall -q stages

FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="albert-ja/cluster" \
      org.opencontainers.image.description="Corpus, vocabularies and TFRecords by the machines of a Ray cluster" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN pip uninstall --yes --root-user-action=ignore setuptools wheel pip
COPY --from=builder /venv /venv
COPY --from=builder /app /app
# For the cluster's token: whoever runs the head makes it, in a volume.
RUN install --directory --mode=1777 /cluster
# HOME is the one place that is writable under a read-only root, whoever runs the container.
ENV PATH=/venv/bin:$PATH PYTHONPATH=/app PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp
WORKDIR /app
USER 1000:1000
ENTRYPOINT ["python", "-m"]
CMD ["stages.tfrecords", "--help"]
