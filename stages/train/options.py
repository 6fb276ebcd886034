"""What a person asks of one training run. The defaults are the published recipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stages.tpu_train.options import PUBLISHED_RATE, SHORT_RATE, WARMUP_SHARE

# A run of fewer steps takes SHORT_RATE unless told otherwise: the published rate does not move a model in so few.
SHORT = 100_000
DEVICES = ("auto", "cpu", "cuda", "xla")
PRECISIONS = ("auto", "float32", "bfloat16")


@dataclass(frozen=True)
class Options:
    """Flags of `python -m stages.train`; `--help` gives the unit of each."""

    tfrecords: str
    config: str
    out: str
    batch: int = 512
    micro_batch: int | None = None
    steps: int = 1_000_000
    warmup: int | None = None
    learning_rate: float | None = None
    eval_batch: int = 64
    save_every: int = 40_000
    eval_steps: int = 100
    keep: int = 3
    log_every: int | None = None
    held_out: int | None = None
    seed: int = 12345
    seq_length: int | None = None
    max_predictions: int | None = None
    vocab_size_from_tfrecords: bool = False
    vocab: str | None = None
    dynamic_masking: bool = False
    init_checkpoint: str | None = None
    device: str = "auto"
    precision: str = "auto"
    compile: str = "auto"
    processes: int | None = None
    readers: int = 2
    check: bool = False

    # What `stages.tpu_train.shape` asks.
    on_tpu = False

    @property
    def warmup_steps(self) -> int:
        return int(self.steps * WARMUP_SHARE) if self.warmup is None else self.warmup

    @property
    def rate(self) -> float:
        return self.learning_rate or (SHORT_RATE if self.steps < SHORT else PUBLISHED_RATE)

    @property
    def steps_a_row(self) -> int:
        """Steps from one row of training metrics to the next."""
        return self.log_every or max(1, min(100, self.steps // 100))

    def decisive(self) -> dict[str, Any]:
        """The options that decide the numbers of the run: all but where it runs, how fast, and where its files lie."""
        names = (
            *("batch", "steps", "eval_batch", "save_every", "eval_steps", "seed", "dynamic_masking", "init_checkpoint"),
        )
        chosen = {name: getattr(self, name) for name in names}
        rows = {"log_every": self.steps_a_row}
        return {**chosen, **rows, "learning_rate": self.rate, "warmup": self.warmup_steps, "optimizer": "lamb"}
