"""A held-out corpus, or held-out examples → a sample of sentences that fit all models, and their pseudo-perplexity."""

import hashlib
import heapq
import math
import re
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.estimates import Ratios, exponential, scaled
from stages.formats.batches import Batch, unmasked_ids
from stages.words.tokenization import BertJapaneseTinySegmenterTokenizer as Tokenizer

# The corpus keeps sentences of these lengths in characters; the same limits apply to text of examples.
SHORTEST, LONGEST = 10, 250
# Sentences in the sample for each requested one: some are left out.
_SPARE = 4


def from_records(batches: Iterable[Batch], tokenizer: Tokenizer) -> Iterator[str]:
    """The unmasked text of examples, cut behind each `。`; a part may start within a sentence."""
    for batch in batches:
        for ids, mask, segments in zip(unmasked_ids(batch), batch.mask, batch.segments, strict=True):
            for segment in (0, 1):
                part = ids[(mask > 0) & (segments == segment)].tolist()
                tokens: Any = tokenizer.convert_ids_to_tokens(part)
                text = tokenizer.convert_tokens_to_string([t for t in tokens if t not in ("[CLS]", "[SEP]")])
                yield from re.findall("[^。]*。|[^。]+$", text)


def sample(sentences: Iterable[str], count: int) -> list[str]:
    """A random sample without repetitions, in random order: the `count` sentences with the smallest SHA-256.

    It depends neither on the order nor on repetitions of the sentences.
    """
    texts = {text for text in sentences if SHORTEST <= len(text) <= LONGEST}
    return heapq.nsmallest(count, texts, key=lambda text: hashlib.sha256(text.encode()).digest())


def choose(
    sentences: Iterable[str], count: int, tokenizers: dict[str, Tokenizer], longest: int
) -> tuple[dict[str, dict[str, list[int]]], dict[str, int]]:
    """`count` sentences of the sample, and the numbers of sentences left out, by reason.

    A sentence is its text, and its ids with [CLS] and [SEP] by each tokenizer. Those with an [UNK] are left out, since
    it hides characters from a model, and those of more than `longest` tokens.
    """
    chosen: dict[str, dict[str, list[int]]] = {}
    left_out = {"unknown_token": 0, "too_long": 0}
    for text in sample(sentences, _SPARE * count):
        if len(chosen) == count:
            break
        ids = {name: tokenizer(text)["input_ids"] for name, tokenizer in tokenizers.items()}
        if any(tokenizer.unk_token_id in ids[name] for name, tokenizer in tokenizers.items()):
            left_out["unknown_token"] += 1
        elif max(map(len, ids.values())) > longest:
            left_out["too_long"] += 1
        else:
            chosen[text] = ids
    return chosen, left_out


def pseudo_perplexity(losses: list[NDArray[np.floating]], texts: list[str]) -> dict[str, Any]:
    """Loss a token, pseudo-perplexity, and bits a character, which are comparable between vocabularies.

    Salazar et al. 2020 (Masked Language Model Scoring), sections 2.1 and 2.3: PLL(W) = Σ ln P(token | all the others),
    and the pseudo-perplexity of N tokens in all is exp(-1/N · Σ PLL).

    losses: in nats, of each token of a sentence that is masked alone. A sentence is the unit of the intervals.
    Characters are those of the corpus (NFKC).
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
