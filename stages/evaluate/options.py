"""The options of evaluate."""

from dataclasses import dataclass
from typing import Optional

from stages.command.options import option, path

MOST = 10**9


@dataclass(frozen=True)
class Options:
    model: str = path("{models}/{model}/{size}", "model folder, as convert writes it")
    tfrecords: str = path("{training}/tfrecords/{model}", "the TFRecords it was trained on")
    out: str = path("{training}/evaluations/{model}/{size}", "folder of the report")
    compare: Optional[str] = path(None, "another model folder", variable="COMPARE")
    corpus: Optional[str] = path(
        "{data}/corpus", "the corpus of the TFRecords, to take held-out sentences from, else from them", if_there=True
    )
    held_out: Optional[int] = option(None, "files that training held out (default: its own, 1 %)", least=1, most=MOST)
    examples: int = option(256, "held-out examples, from the first on", least=1, most=MOST, decides=True)
    sentences: int = option(64, "held-out sentences whose every token is masked", least=1, most=MOST, decides=True)
    baseline_records: int = option(20_000, "training examples the baselines count", least=1, most=MOST, decides=True)
    batch: int = option(16, "examples that go through the model together", least=1, most=MOST)
    device: str = option("auto", "auto: a GPU where there is one", choices=("auto", "cpu", "cuda"))
