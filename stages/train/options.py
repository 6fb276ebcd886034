"""The options of one training run with PyTorch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Optional

from stages.command.options import decisive, option, path
from stages.formats.pretraining import (
    PRECISIONS,
    PUBLISHED_RATE,
    SHORT_RATE,
    TrainingOptions,
    file_identity,
)

# A run of fewer steps takes SHORT_RATE unless told otherwise: the published rate does not move a model in so few.
SHORT = 100_000
# Examples, or windows, of a batch.
BATCH = {"efficient": 16, "published": 512}
# The length of a run that names none: steps of the published recipe, hours of the efficient one.
PUBLISHED_STEPS, HOURS = 1_000_000, 2.0


@dataclass(frozen=True)
class Options(TrainingOptions):
    out: str = path("{training}/runs/{model}/{size}", "folder for checkpoints, metrics, plot and event files")
    recipe: str = option(
        "efficient", "efficient: for minutes to days; published: as Google's program trains",
        choices=tuple(BATCH), decides=True,
    )  # fmt: skip
    batch: Optional[int] = option(
        None, "training batch over all processes, in examples (default: 512) or windows of 128 tokens (default: 16)",
        least=1, decides=True,
    )  # fmt: skip
    micro_batch: Optional[int] = option(
        None,
        "examples in one pass; gradients of a batch's passes are added up (default: 8 on a processor, 64 on a GPU)",
        least=1,
    )
    steps: int = option(
        None, f"length of the run, in steps; the rate falls to 0 by then (default of published: {PUBLISHED_STEPS})",
        least=1, decides=True,
    )  # fmt: skip
    hours: Optional[float] = option(
        None,
        "the same in hours: the steps follow from the speed of the first seconds (default of the efficient recipe: "
        f"{HOURS:g})",
        unit="H", least=1e-3, decides=True,
    )  # fmt: skip
    warmup: Optional[int] = option(
        None, "steps in which the rate rises (default: 2.5 % of the steps, or 78)", least=0, decides=True
    )
    learning_rate: Optional[float] = option(
        None,
        f"peak rate, of LAMB (default: {PUBLISHED_RATE:g}, in runs of under {SHORT:,} steps {SHORT_RATE:g}) or, in the "
        "efficient recipe, of AdamW (default: 0.0004)",
        unit="R", least=1e-12, decides=True,
    )  # fmt: skip
    eval_batch: int = option(64, "evaluation batch of the published recipe, in examples", least=1, decides=True)
    save_every: Optional[int] = option(
        None, "steps from one evaluation and checkpoint to the next (default: 40000, or a 20th of the run)",
        least=1, decides=True,
    )  # fmt: skip
    eval_steps: int = option(100, "batches per evaluation of the published recipe at most", least=1, decides=True)
    keep: int = option(3, "checkpoints that are kept, beside the best model", unit="K", least=1)
    log_every: Optional[int] = option(
        None, "steps from one row of metrics to the next (default: a hundredth of the run, 100 at most)",
        least=1, decides=True,
    )  # fmt: skip
    dynamic_masking: bool = option(False, "mask every example anew each epoch; needs --vocab", decides=True)
    init_checkpoint: Optional[str] = path(None, "model.safetensors to start from (default: random weights)")
    device: str = option("auto", "where to train; auto: a GPU where there is one", choices=("auto", "cpu", "cuda"))
    precision: str = option("auto", "of the passes; auto: bfloat16 where it is faster", choices=PRECISIONS)
    compile: str = option("auto", "torch.compile; auto: on a GPU", choices=("auto", "on", "off"))
    processes: Optional[int] = option(
        None,
        "processes, each with a part of a batch (default: one a GPU, two on processors); torchrun can start them too",
        least=1,
    )
    readers: int = option(2, "threads that read TFRecords; without influence on the result", least=1)

    # `disagreements` of formats/pretraining.py reads it.
    on_tpu = False

    def conflict(self) -> Optional[str]:
        if self.steps and self.hours:
            return "--steps and --hours both name the length of the run; leave one out"
        return None

    def with_length(self) -> Options:
        """These options with the length of the run that they mean, where none is given."""
        hours = self.hours or (HOURS if self.recipe == "efficient" and not self.steps else None)
        return replace(self, hours=hours, steps=self.steps or PUBLISHED_STEPS)

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
    def rate(self) -> float:
        return self.learning_rate or (SHORT_RATE if self.steps < SHORT else PUBLISHED_RATE)

    @property
    def steps_a_row(self) -> int:
        """Steps from one row of training metrics to the next."""
        return self.log_every or max(1, min(100, self.steps // 100))

    def decisive(self) -> dict[str, Any]:
        """The options that decide the numbers of the run, as the manifest records them."""
        chosen = {**decisive(self), "batch": self.batch_size, "init_checkpoint": file_identity(self.init_checkpoint)}
        chosen["optimizer"] = "lamb" if self.recipe == "published" else "muon and adamw"
        if self.hours:
            # Steps and save_every follow from the speed of this machine, and are kept with the run.
            del chosen["steps"], chosen["save_every"]
        else:
            chosen["save_every"] = self.steps_to_save
            if self.recipe == "published":
                chosen.update(log_every=self.steps_a_row, learning_rate=self.rate, warmup=self.warmup_steps)
        return chosen
