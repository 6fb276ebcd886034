"""The number of sentences in each shard → the sentences in the sample."""

import numpy as np
from numpy.typing import NDArray


def draw(sentences: list[int], sample: int, seed: int) -> list[int]:
    """The number of sentences that a uniform sample has from each shard.

    sentences: the number in each shard. `sample` of them are drawn without replacement, all if there are fewer. The
    numbers follow the multivariate hypergeometric distribution. So with `sample_mask` every set of `sample` sentences
    is equally likely, and each shard can be read on its own.
    """
    if sample >= sum(sentences):
        return list(sentences)
    generator = np.random.default_rng(seed)
    numbers: list[int] = generator.multivariate_hypergeometric(sentences, sample, method="marginals").tolist()
    return numbers


def sample_mask(sentences: int, size: int, seed: int, shard: int) -> NDArray[np.bool_]:
    """Whether each of a shard's sentences is among the `size` in the sample: shape (sentences,)."""
    mask = np.zeros(sentences, dtype=bool)
    mask[np.random.default_rng([seed, shard]).choice(sentences, size, replace=False, shuffle=False)] = True
    return mask
