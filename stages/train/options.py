"""What a person asks of one training run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stages.formats.pretraining import PUBLISHED_RATE, SHORT_RATE, WARMUP_SHARE

# A run of fewer steps takes SHORT_RATE unless told otherwise: the published rate does not move a model in so few.
SHORT = 100_000
RECIPES = ("efficient", "published")
# Examples, or windows, of a batch.
BATCH = {"published": 512, "efficient": 16}
# The length of a run that names none: steps of the published recipe, hours of the efficient one.
PUBLISHED_STEPS, HOURS = 1_000_000, 2.0
DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class Options:
    """Flags of `python -m stages.train`; `--help` gives the unit of each."""

    tfrecords: str
    config: str
    out: str
    recipe: str = "efficient"
    batch: int | None = None
    micro_batch: int | None = None
    steps: int = PUBLISHED_STEPS
    hours: float | None = None
    warmup: int | None = None
    learning_rate: float | None = None
    eval_batch: int = 64
    save_every: int | None = None
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
    def masks_anew(self) -> bool:
        """Whether examples are masked while they are read."""
        return self.dynamic_masking or self.recipe == "efficient"

    @property
    def batch_size(self) -> int:
        return self.batch or BATCH[self.recipe]

    @property
    def steps_to_save(self) -> int:
        """Steps from one checkpoint to the next: the published number, or a twentieth of the run."""
        return self.save_every or (40_000 if self.recipe == "published" else max(100, self.steps // 20))

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
        names = ("recipe", "hours", "eval_batch", "eval_steps", "seed", "dynamic_masking", "init_checkpoint")
        chosen = {name: getattr(self, name) for name in names}
        chosen |= {"batch": self.batch_size, "log_every": self.log_every}
        # With --hours what follows from the steps follows from the speed of this machine, and is kept with the run.
        steps = {} if self.hours else {"steps": self.steps, "save_every": self.steps_to_save}
        if self.recipe == "efficient" or self.hours:
            asked = {"learning_rate": self.learning_rate, "warmup": self.warmup}
            return {**chosen, **steps, **asked, "optimizer": "muon and adamw" if self.recipe == "efficient" else "lamb"}
        rows = {"log_every": self.steps_a_row, "optimizer": "lamb"}
        return {**chosen, **steps, **rows, "learning_rate": self.rate, "warmup": self.warmup_steps}
