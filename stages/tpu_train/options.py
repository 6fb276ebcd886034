"""What a person asks of one training run. The defaults are the published recipe."""

from dataclasses import dataclass
from typing import Any, Dict, Optional

from stages.formats.pretraining import PUBLISHED_RATE, SHORT_RATE, WARMUP_SHARE


@dataclass(frozen=True)
class Options:
    """Flags of ``python -m stages.tpu_train``; ``--help`` gives the unit of each."""

    tfrecords: str
    config: str
    out: str
    batch: int = 512
    steps: int = 1000000
    warmup: Optional[int] = None
    learning_rate: Optional[float] = None
    eval_batch: int = 64
    save_every: int = 40000
    eval_steps: int = 100
    held_out: Optional[int] = None
    seed: int = 12345
    seq_length: Optional[int] = None
    max_predictions: Optional[int] = None
    vocab_size_from_tfrecords: bool = False
    init_checkpoint: Optional[str] = None
    device: str = "tpu"
    tpu_name: Optional[str] = None
    tpu_zone: Optional[str] = None
    gcp_project: Optional[str] = None
    num_tpu_cores: int = 8
    iterations_per_loop: int = 1000
    vocab: Optional[str] = None
    storage: str = "auto"
    scratch: Optional[str] = None
    check: bool = False

    @property
    def on_tpu(self) -> bool:
        return self.device == "tpu"

    @property
    def warmup_steps(self) -> int:
        return int(self.steps * WARMUP_SHARE) if self.warmup is None else self.warmup

    @property
    def rate(self) -> float:
        return self.learning_rate or (PUBLISHED_RATE if self.on_tpu else SHORT_RATE)

    def decisive(self) -> Dict[str, Any]:
        """The options that decide the numbers of the run: all but where it runs and where its files lie."""
        names = ("batch", "steps", "eval_batch", "save_every", "eval_steps", "seed", "init_checkpoint")
        chosen = {name: getattr(self, name) for name in names}
        return dict(chosen, learning_rate=self.rate, warmup=self.warmup_steps, optimizer="lamb")
