"""A local vocab.txt, or one in a bucket → its entries."""

from stages.handover import storage
from stages.words.japanese_subwords import read_vocabulary


def read(path: str) -> dict[str, int]:
    """entry → id. OSError for a missing file, ValueError (naming file and line) for an invalid vocabulary."""
    with storage.fetched(path) as local:
        try:
            return read_vocabulary(local)
        except ValueError as error:
            raise ValueError(str(error).replace(local, path))
