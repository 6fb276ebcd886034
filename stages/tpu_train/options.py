"""The options of one training run with TensorFlow 1.15. The defaults are the published recipe."""

from dataclasses import dataclass
from typing import Any, Dict, Optional

from stages.command.options import decisive, option, path
from stages.formats.pretraining import PUBLISHED_RATE, SHORT_RATE, TrainingOptions, file_identity

_RATES = f"peak rate of LAMB (default: {PUBLISHED_RATE:g}, with --device cpu {SHORT_RATE:g})"


@dataclass(frozen=True)
class Options(TrainingOptions):
    out: str = path("{training}/checkpoints/{model}/{size}", "folder for checkpoints, evaluation and event files")
    batch: int = option(512, "training batch, in examples", least=1, decides=True)
    steps: int = option(1000000, "length of the run, in steps; the rate falls to 0 by then", least=1, decides=True)
    warmup: Optional[int] = option(
        None, "steps in which the rate rises (default: 2.5 % of the steps)", least=0, decides=True
    )
    learning_rate: Optional[float] = option(None, _RATES, unit="R", least=1e-12, decides=True)
    eval_batch: int = option(64, "evaluation batch, in examples", least=1, decides=True)
    save_every: int = option(40000, "steps from one checkpoint and evaluation to the next", least=1, decides=True)
    eval_steps: int = option(100, "batches per evaluation at most", least=1, decides=True)
    init_checkpoint: Optional[str] = path(None, "TensorFlow ALBERT checkpoint to start from (default: random weights)")
    device: str = option("tpu", "where to train: a Cloud TPU, or this machine", choices=("tpu", "cpu"))
    tpu_name: Optional[str] = option(None, "name or grpc:// address of the Cloud TPU")
    tpu_zone: Optional[str] = option(None, "its zone (default: this machine's)", unit="ZONE")
    gcp_project: Optional[str] = option(
        None, "its project (default: this machine's)", unit="PROJECT", variable="PROJECT"
    )
    num_tpu_cores: int = option(8, "its cores", least=1)
    iterations_per_loop: int = option(
        1000, "steps the TPU takes between two reports; a signal waits for their end", least=1
    )
    storage: str = option(
        "auto",
        "how TensorFlow gets at gs://: itself, or by copies; auto: by copies where STORAGE_EMULATOR_HOST is set",
        choices=("auto", "native", "staged"),
    )
    scratch: Optional[str] = path(None, "folder for those copies, kept for the next run (default: a temporary one)")

    @property
    def on_tpu(self) -> bool:
        return self.device == "tpu"

    @property
    def rate(self) -> float:
        return self.learning_rate or (PUBLISHED_RATE if self.on_tpu else SHORT_RATE)

    def decisive(self) -> Dict[str, Any]:
        """The options that decide the numbers of the run, as the manifest records them."""
        # The index of a checkpoint holds the checksum of every variable.
        start = file_identity(self.init_checkpoint and self.init_checkpoint + ".index")
        found = {"learning_rate": self.rate, "warmup": self.warmup_steps, "init_checkpoint": start}
        return dict(decisive(self), optimizer="lamb", **found)
