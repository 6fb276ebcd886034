"""Counters of the service, in the text format of Prometheus. Labels are routes and models, never text of a client."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics

# Seconds: a sentence takes well under a millisecond, a long text with many masks some seconds.
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

disable_created_metrics()  # type: ignore[no-untyped-call]
REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
REQUESTS = Counter("tokenizer_requests", "Requests answered", ("route", "status"), registry=REGISTRY)
REQUEST_SECONDS = Histogram(
    "tokenizer_request_seconds", "From the first byte of a request to its answer", ("route",),
    registry=REGISTRY, buckets=SECONDS,
)  # fmt: skip
TEXTS = Counter("tokenizer_texts", "Texts worked on", ("route", "model"), registry=REGISTRY)
TOKENS = Counter("tokenizer_tokens", "Tokens of these texts", ("route", "model"), registry=REGISTRY)
BATCHES = Histogram(
    "tokenizer_batch_requests", "Requests worked on together", ("work",),
    registry=REGISTRY, buckets=(1, 2, 4, 8, 16, 32, 64, 128),
)  # fmt: skip
WAITING = Gauge("tokenizer_waiting_requests", "Requests being worked on", registry=REGISTRY)
