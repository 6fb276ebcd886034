"""The options of tfrecords."""

from dataclasses import dataclass
from typing import Any, Dict, Optional, Tuple

from stages.command.options import decisive, option, path
from stages.engine.options import engine_option, jobs_option

MODELS = ("wordpiece_tinysegmenter", "character")
# Tokens of the longest example. stages/formats/examples.c has positions of 16 bits.
LONGEST = 65_536


@dataclass(frozen=True)
class Options:
    """The defaults are the published recipe."""

    corpus: str = path("{data}/corpus", "folder that corpus wrote")
    vocab: str = path("{data}/vocab", "folder with <model>/vocab.txt")
    out: str = path("{training}/tfrecords", "folder for <model>/pretrain_*.tfrecord.gz")
    model: Optional[str] = option(None, "only this one (default: both)", choices=("wordpiece", *MODELS))
    seq_length: int = option(512, "tokens in an example", unit="L", least=8, most=LONGEST, decides=True)
    dupe_factor: int = option(40, "copies of the corpus, masked anew", unit="K", least=1, most=10**6, decides=True)
    max_predictions: int = option(20, "most masked tokens in an example", unit="P", least=1, decides=True)
    masked_lm_prob: float = option(0.15, "share of tokens masked", unit="R", least=0.0001, most=1, decides=True)
    ngram: int = option(3, "most words masked in a row", least=1, most=100, decides=True)
    short_seq_prob: float = option(0.1, "share of shorter sequences", unit="R", least=0, most=1, decides=True)
    unmasked: bool = option(False, "mask nothing: for train, which masks anew, with --dupe-factor 1", decides=True)
    seed: int = option(12345, "seed of all draws", unit="S", least=0, most=2**63, decides=True)
    jobs: int = jobs_option()
    engine: str = engine_option()

    @property
    def models(self) -> Tuple[str, ...]:
        """The models that `--model` asks for."""
        return tuple(name for name in MODELS if self.model is None or name.startswith(self.model))

    def conflict(self) -> Optional[str]:
        most = self.seq_length - 3
        if self.max_predictions > most:
            return f"--max-predictions must be from 1 to {most}, the tokens of an example that may be masked"
        return None

    def decisive(self) -> Dict[str, Any]:
        """The options as the manifest records them; `unmasked` only where it is set."""
        recorded = decisive(self)
        return recorded if self.unmasked else {name: value for name, value in recorded.items() if name != "unmasked"}
