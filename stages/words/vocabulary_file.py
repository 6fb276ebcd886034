"""A vocab.txt on this machine or at gs:// → its entries."""

from stages.handover import storage
from stages.words.japanese_subwords import read_vocabulary


def read(path: str) -> dict[str, int]:
    """entry → id. OSError where there is no such file, ValueError (naming file and line) for what is no vocabulary."""
    with storage.fetched(path) as local:
        try:
            return read_vocabulary(local)
        except ValueError as error:
            raise ValueError(str(error).replace(local, path))
