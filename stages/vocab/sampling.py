"""How many sentences each shard has → which of them are in the sample."""

import numpy as np
from numpy.typing import NDArray


def draw(sentences: list[int], sample: int, seed: int) -> list[int]:
    """How many sentences of each shard a uniform sample takes.

    `sentences` is the number in each shard; `sample` sentences are drawn from all of them without
    replacement (all, where there are fewer). The numbers follow the multivariate hypergeometric
    distribution, so together with `chosen` every set of `sample` sentences is equally likely, and each
    shard can be read on its own.
    """
    if sample >= sum(sentences):
        return list(sentences)
    generator = np.random.default_rng(seed)
    return [int(n) for n in generator.multivariate_hypergeometric(sentences, sample, method="marginals")]


def chosen(sentences: int, take: int, seed: int, shard: int) -> NDArray[np.bool_]:
    """Which `take` of a shard's sentences are in the sample: a mask of shape (sentences,)."""
    mask = np.zeros(sentences, dtype=bool)
    mask[np.random.default_rng([seed, shard]).choice(sentences, take, replace=False, shuffle=False)] = True
    return mask
