"""Sentences and a model → the loss of each token masked alone, and the pseudo-perplexity.

Salazar et al. 2020 (Masked Language Model Scoring), sections 2.1 and 2.3: PLL(W) = Σ ln P(token | all the others), and
the pseudo-perplexity of N tokens in all is exp(-1/N · Σ PLL).
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.estimates import Ratios, exponential, scaled
from stages.evaluate.predictions import mask_batches, predict_masked
from stages.words.tokenization import BertJapaneseTinySegmenterTokenizer


def token_losses(
    model: Any,
    tokenizer: BertJapaneseTinySegmenterTokenizer,
    sentences: list[list[int]],
    tokens: int,
    progress: Callable[[int], None],
) -> list[NDArray[np.float64]]:
    """The losses in nats of the tokens of each sentence (ids with [CLS] and [SEP]), without these two.

    tokens: of a batch. `progress` is called with the number of tokens masked since the last call.
    """
    losses = [np.zeros(len(ids) - 2) for ids in sentences]
    for batch in mask_batches(sentences, tokens):
        predictions = predict_masked(model, tokenizer, [(sentences[number], position) for number, position in batch])
        for (number, position), loss in zip(batch, predictions.losses.tolist(), strict=True):
            losses[number][position - 1] = loss
        progress(len(batch))
    return losses


def as_json(losses: list[NDArray[np.float64]], texts: list[str]) -> dict[str, Any]:
    """Loss a token, pseudo-perplexity, and bits a character, which are comparable between vocabularies.

    A sentence is the unit of the intervals. Characters are those of the corpus (NFKC).
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
