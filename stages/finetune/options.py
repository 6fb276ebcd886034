"""The options of finetune."""

import functools
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Tuple

from stages.command.options import REQUIRED, option, path
from stages.finetune.runs import GRIDS, Run, runs
from stages.finetune.tasks import TASKS
from stages.formats.pretraining import PRECISIONS

_MOST = 10**9
_count = functools.partial(option, least=1, most=_MOST)
_LENGTHS = ", ".join(f"{task.name} {task.max_length}" for task in TASKS.values())


@dataclass(frozen=True)
class Options:
    task: str = option(REQUIRED, "what to learn", choices=tuple(TASKS), decides=True)
    dataset: str = path(REQUIRED, "folder of the task's train and valid files", variable="DATASET")
    model: str = path("{models}/{model}/{size}", "model folder, as convert writes it")
    out: str = path("{training}/finetuned/{model}/{size}/{task}", "folder of the results and of the best model")
    grid: Optional[str] = option(
        None,
        "the published rates (5e-5, 3e-5, 2e-5) and epochs (3, 4): six runs a seed",
        choices=tuple(GRIDS),
        decides=True,
    )
    learning_rate: Tuple[float, ...] = option(
        (), "peak rates of AdamW (default: 5e-05)", unit="R", least=1e-12, most=_MOST, several=True, decides=True
    )
    epochs: Tuple[int, ...] = _count((), "times through the examples (default: 3)", several=True, decides=True)
    seed: Tuple[int, ...] = option(
        (42,), "of new layers and of the order", unit="S", least=0, most=_MOST, several=True, decides=True
    )
    # Clusters name a folder by SCRATCH.
    scratch: bool = option(
        False,
        "also fine-tune random values of the same architecture with the best run's settings, to compare",
        variable="",
        decides=True,
    )
    batch: Optional[int] = _count(
        None, "examples a step (default: the published 32, of jcommonsenseqa 64)", decides=True
    )
    micro_batch: Optional[int] = _count(
        None, "examples in one pass; gradients of a batch's passes are added up (default: the batch)"
    )
    max_length: Optional[int] = option(
        None,
        f"tokens a row (default: {_LENGTHS}; JGLUE's as published), the model's positions at most",
        least=16, most=_MOST,
    )  # fmt: skip
    device: str = option("auto", "auto: a GPU where there is one", choices=("auto", "cpu", "cuda"), decides=True)
    precision: str = option("auto", "auto: bfloat16 where it is faster, else float32", choices=PRECISIONS, decides=True)

    @property
    def batch_size(self) -> int:
        return self.batch or TASKS[self.task].batch

    @property
    def pass_size(self) -> int:
        """Examples in one pass."""
        return min(self.micro_batch or self.batch_size, self.batch_size)

    @property
    def rates_and_epochs(self) -> Tuple[Tuple[float, ...], Tuple[int, ...]]:
        return GRIDS[self.grid] if self.grid else (self.learning_rate or (5e-5,), self.epochs or (3,))

    @property
    def runs(self) -> List[Run]:
        return runs(*self.rates_and_epochs, self.seed)

    def conflict(self) -> Optional[str]:
        if self.grid and (self.learning_rate or self.epochs):
            return "--grid names the rates and epochs; leave out --learning-rate and --epochs"
        if self.batch_size % self.pass_size:
            return f"--micro-batch {self.micro_batch} does not divide the batch of {self.batch_size}"
        return None

    def row_length(self, settings: Dict[str, Any]) -> int:
        """The most tokens of a row for a model with these settings."""
        longest: int = settings["max_position_embeddings"]
        return min(self.max_length or TASKS[self.task].max_length, longest)
