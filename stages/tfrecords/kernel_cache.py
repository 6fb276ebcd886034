"""The compiled loops of this stage → a cache that is filled when the image is built and only read after that.

An image sets NUMBA_CACHE_DIR, NUMBA_CPU_NAME=generic (the cache then fits every processor of the platform)
and NUMBA_CACHE_LOCATOR_CLASSES=stages.tfrecords.kernel_cache.ReadOnlyCache, and its build runs this module.
Without that, numba would compile for about 15 seconds at each start under a read-only root. In a virtual
environment numba keeps its cache in __pycache__ as usual.
"""

import os

import numpy as np
from numba.core.caching import UserProvidedCacheLocator


class ReadOnlyCache(UserProvidedCacheLocator):
    """The cache in NUMBA_CACHE_DIR; unlike numba's own, it need not be writable."""

    def ensure_cache_path(self) -> None:
        """Make the folder where that is possible."""
        if not os.path.isdir(self.get_cache_path()):
            os.makedirs(self.get_cache_path())


def main() -> None:
    """Run every loop once, on two short articles."""
    from stages.tfrecords.examples import COUNTS, Vocabulary, encoded
    from stages.tfrecords.instances import plan
    from stages.tfrecords.tokens import look_up, split
    from stages.tokenizer.japanese_subwords import SPECIAL_TOKENS

    entries = {entry: number for number, entry in enumerate([*SPECIAL_TOKENS, "一", "二", "。"])}
    words = split([["一。", "二。"], ["一二。"]], frozenset())
    tokens = look_up(words, "character", entries)
    generator = np.random.default_rng(0)
    instances = plan(generator, tokens.sentences, tokens.documents, 1, 13, 0.1)
    counts = np.zeros(len(COUNTS) + 3, np.int64)
    made = list(encoded(generator, tokens, instances, Vocabulary.of(entries), 16, 5, 0.15, 3, counts))
    assert len(made) == len(instances)


if __name__ == "__main__":
    main()
