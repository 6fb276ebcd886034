"""The options of evaluate."""

import functools
from dataclasses import dataclass
from typing import Optional

from stages.command.options import option, path

_count = functools.partial(option, least=1, most=10**9)


@dataclass(frozen=True)
class Options:
    model: str = path("{models}/{model}/{size}", "model folder, as convert writes it")
    tfrecords: str = path("{training}/tfrecords/{model}", "the TFRecords it was trained on")
    out: str = path("{training}/evaluations/{model}/{size}", "folder of the report")
    compare: Optional[str] = path(None, "another model folder", variable="COMPARE")
    corpus: Optional[str] = path(
        "{data}/corpus", "the corpus of the TFRecords, to take held-out sentences from, else from them", if_there=True
    )
    held_out: Optional[int] = _count(
        None, "last files to measure on (default: those that training held out, by the model's manifest, else 1 %)"
    )
    examples: int = _count(256, "held-out examples, from the first on", decides=True)
    sentences: int = _count(64, "held-out sentences whose every token is masked", decides=True)
    baseline_records: int = _count(20_000, "training examples the baselines count", decides=True)
    batch: int = _count(16, "examples that go through the model together")
    device: str = option("auto", "auto: a GPU where there is one", choices=("auto", "cpu", "cuda"))
