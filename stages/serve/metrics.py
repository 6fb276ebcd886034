"""What the service counts, in the form of Prometheus."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

# Seconds: a sentence takes well under a millisecond, a long text with many masks some seconds.
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counters of one service. Routes and models are labels, never what clients sent."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)

        def made(kind: type, name: str, text: str, *labels: str, **options: object) -> object:
            return kind(f"tokenizer_{name}", text, labels, registry=self._registry, **options)

        self._requests: Counter = made(Counter, "requests", "Requests answered", "route", "status")  # type: ignore[assignment]
        self._seconds: Histogram = made(  # type: ignore[assignment]
            Histogram, "request_seconds", "From the first byte of a request to its answer", "route", buckets=SECONDS
        )
        self._texts: Counter = made(Counter, "texts", "Texts worked on", "route", "model")  # type: ignore[assignment]
        self._tokens: Counter = made(Counter, "tokens", "Tokens of these texts", "route", "model")  # type: ignore[assignment]
        self._batch: Histogram = made(  # type: ignore[assignment]
            Histogram, "batch_requests", "Requests worked on together", "work", buckets=(1, 2, 4, 8, 16, 32, 64, 128)
        )
        self.waiting: Gauge = made(Gauge, "waiting_requests", "Requests being worked on")  # type: ignore[assignment]

    def answered(self, route: str, status: int, seconds: float) -> None:
        """A request has its answer."""
        self._requests.labels(route, status).inc()
        self._seconds.labels(route).observe(seconds)

    def worked(self, route: str, model: str, texts: int, tokens: int) -> None:
        """Texts were worked on."""
        self._texts.labels(route, model).inc(texts)
        self._tokens.labels(route, model).inc(tokens)

    def batched(self, work: str, requests: int) -> None:
        """Requests were worked on together."""
        self._batch.labels(work).observe(requests)

    def page(self) -> bytes:
        """All of it, for `/metrics`."""
        return generate_latest(self._registry)
