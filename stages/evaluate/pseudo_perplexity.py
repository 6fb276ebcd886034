"""Sentences and a model → the loss of each token once it alone is masked, and the pseudo-perplexity they come to.

Salazar et al. 2020 (Masked Language Model Scoring), sections 2.1 and 2.3: PLL(W) = Σ ln P(token | all the others), and
the pseudo-perplexity of N tokens in all is exp(-1/N · Σ PLL).
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.estimates import Ratios, exponential, scaled
from stages.evaluate.predictions import at_masks, masked_in_turn


def token_losses(
    model: Any, sentences: list[list[int]], mask_id: int, pad_id: int, together: int, done: Callable[[int], None]
) -> list[NDArray[np.float64]]:
    """The losses in nats of every token of each sentence (ids with [CLS] and [SEP]), those two left out.

    together: tokens that go through the model together. `done` is called with the tokens masked since the last call.
    """
    losses = [np.zeros(len(ids) - 2) for ids in sentences]
    for chosen in masked_in_turn(sentences, together):
        made = at_masks(model, [(sentences[number], place) for number, place in chosen], mask_id, pad_id)
        for (number, place), loss in zip(chosen, made.losses.tolist(), strict=True):
            losses[number][place - 1] = loss
        done(len(chosen))
    return losses


def described(losses: list[NDArray[np.float64]], texts: list[str]) -> dict[str, Any]:
    """Loss a token, pseudo-perplexity, and bits a character, which vocabularies can be compared by.

    A sentence is the unit of the intervals. Characters are those of the text as the corpus has it (NFKC).
    """
    sums = np.array([loss.sum() for loss in losses])
    ratios = Ratios((2,))
    weights = np.stack([[len(loss) for loss in losses], [len(text) for text in texts]], 1).astype(np.float64)
    ratios.add(np.stack([sums, sums], 1), weights)
    loss = ratios.estimate(0)
    return {
        "tokens": int(weights[:, 0].sum()),
        "loss": loss,
        "pseudo_perplexity": exponential(loss),
        "bits_per_character": scaled(ratios.estimate(1), 1 / math.log(2)),
    }
