"""The options of vocab."""

from dataclasses import dataclass

from stages.command.options import option, path
from stages.engine.options import engine_option, jobs_option


@dataclass(frozen=True)
class Options:
    """The defaults are the published recipe."""

    corpus: str = path("{data}/corpus", "folder that corpus wrote")
    out: str = path("{data}/vocab", "folder for <model>/vocab.txt of both models")
    vocab_size: int = option(32768, "entries of the WordPiece vocabulary", least=1, decides=True)
    alphabet_size: int = option(6129, "characters in both vocabularies", least=1, decides=True)
    unused: int = option(10, "entries <unused0>… kept free for later use", least=0, decides=True)
    sample: int = option(3_000_000, "sentences drawn from the corpus", least=1, decides=True)
    seed: int = option(12345, "seed of the draw", unit="S", least=0, decides=True)
    jobs: int = jobs_option()
    engine: str = engine_option()
