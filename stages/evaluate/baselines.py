"""Text → two models of a token that need no training: its share in the text, and counts of the two tokens beside it.

P(t) = (count + 1) / (tokens + entries) is the unigram model. The others are interpolated with it by the method of
Witten and Bell (1991; Chen and Goodman 1999, section 2.5): P = (count + kinds · lower) / (total + kinds). `total`:
tokens in the context; `kinds`: different ones of them; `lower`: the model with less context:

- P(t | l) and P(t | r), from counts of (l, t) and of (t, r); lower: P(t);
- P(t | l, r), from counts of (l, t, r); lower: P(t | l) · P(t | r) / P(t), normalized: l and r independent given t.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from stages.evaluate.scores import TOP, Guesses
from stages.formats.batches import Batch, unmasked_ids
from stages.words.japanese_subwords import SPECIAL_TOKENS

PAD, CLS, SEP, MASK = (SPECIAL_TOKENS.index(name) for name in ("[PAD]", "[CLS]", "[SEP]", "[MASK]"))
# Gaps whose distributions are in memory together: 17 MB an array for 32,768 entries.
_CHUNK = 64


class Unigram:
    """P(entry) = (count + 1) / (tokens + entries): add-one smoothing over the whole vocabulary (Laplace).

    counts: (entries,). `best`: the most frequent entries, equal ones by id.
    """

    def __init__(self, counts: NDArray[np.int64]) -> None:
        self.tokens = int(counts.sum())
        self.losses = np.log(self.tokens + len(counts)) - np.log1p(counts)  # in nats, (entries,)
        self.best = np.argsort(-counts, kind="stable")[:TOP]

    def predict(self, left: NDArray[np.int32], right: NDArray[np.int32], labels: NDArray[np.int32]) -> Guesses:
        """As `Neighbours.predict`."""
        return Guesses(self.losses[labels], np.broadcast_to(self.best, (len(labels), TOP)))


class Neighbours:
    """The counts of a text: (tokens,) ids, with [CLS] before each example and [SEP] behind each of its parts.

    [SEP] is a neighbour like any token. [CLS], [MASK] and [PAD] are unknown neighbours. None of the four is counted as
    a token between neighbours. 8.2 million tokens of 6,144 entries took 2 s and 490 MB while counting, then 30 MB.
    """

    def __init__(self, text: NDArray[np.int32], entries: int) -> None:
        self.entries = entries
        ids, is_token = np.pad(text, 1), ~np.isin(text, (PAD, CLS, SEP, MASK))
        left, token, right = _contexts(ids[:-2])[is_token], text[is_token], _contexts(ids[2:])[is_token]
        self.counts = np.bincount(token, minlength=entries)  # (entries,)
        self.unigram = (self.counts + 1) / (len(token) + entries)  # (entries,)
        self.left, self.right = _Counts(left, token, entries), _Counts(right, token, entries)
        self.both = _Counts(self._pairs(left, right), token, entries)

    def _pairs(self, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.where((left < 0) | (right < 0), -1, left * self.entries + right)

    def distributions(self, left: NDArray[np.int32], right: NDArray[np.int32]) -> NDArray[np.float64]:
        """P(entry | left, right), for the ids beside each of n gaps: (n, entries). Each row sums to 1."""
        before, after = _contexts(left), _contexts(right)
        lower = self.left.smooth(before, self.unigram) * self.right.smooth(after, self.unigram) / self.unigram
        return self.both.smooth(self._pairs(before, after), lower / lower.sum(1, keepdims=True))

    def predict(self, left: NDArray[np.int32], right: NDArray[np.int32], labels: NDArray[np.int32]) -> Guesses:
        """Guesses for n gaps by the ids beside them; the losses of `labels`, all (n,)."""
        losses, best = np.zeros(len(labels)), np.zeros((len(labels), TOP), np.int64)
        for first in range(0, len(labels), _CHUNK):
            part = slice(first, first + _CHUNK)
            shares = self.distributions(left[part], right[part])
            losses[part] = -np.log(shares[np.arange(len(shares)), labels[part]])
            best[part] = np.argpartition(-shares, range(TOP), 1)[:, :TOP]
        return Guesses(losses, best)


class _Counts:
    """The count of each token in each context: (n,) numbers of contexts, -1 for unknown ones, and (n,) tokens."""

    def __init__(self, contexts: NDArray[np.int64], tokens: NDArray[np.int32], entries: int) -> None:
        present = contexts >= 0
        # context * entries + token, sorted.
        self.pairs, counts = np.unique(contexts[present] * entries + tokens[present], return_counts=True)
        self.counts, self.entries = counts.astype(np.int32), entries

    def smooth(self, contexts: NDArray[np.int64], lower: NDArray[np.float64]) -> NDArray[np.float64]:
        """P(entry | context): (n, entries); in a context without counts it is `lower`, (n, entries) or (entries,)."""
        first, last = (np.searchsorted(self.pairs, (contexts + n) * self.entries) for n in (0, 1))
        kinds = last - first
        rows = np.repeat(np.arange(len(contexts)), kinds)
        indices = np.arange(len(rows)) + np.repeat(last - np.cumsum(kinds), kinds)
        shares = np.zeros((len(contexts), self.entries))
        shares[rows, self.pairs[indices] % self.entries] = self.counts[indices]
        shares += np.maximum(kinds, 1)[:, None] * lower
        shares /= shares.sum(1, keepdims=True)
        return shares


def _contexts(ids: NDArray[np.int32]) -> NDArray[np.int64]:
    """Neighbours as numbers of contexts: their ids, -1 for unknown ones."""
    return np.where(np.isin(ids, (PAD, CLS, MASK)), -1, ids.astype(np.int64))


Baseline = Unigram | Neighbours


def predict_batch(baseline: Baseline, batch: Batch) -> Guesses:
    """Guesses for the masked tokens, in the order of np.nonzero(batch.weights).

    The neighbours are those in the model's input: maybe [MASK] or a random entry.
    """
    examples, slots = np.nonzero(batch.weights)
    ids, positions = np.pad(batch.ids, ((0, 0), (1, 1))), batch.positions[examples, slots]
    return baseline.predict(ids[examples, positions], ids[examples, positions + 2], batch.labels[examples, slots])


def unmasked_text(batches: Iterable[Batch]) -> NDArray[np.int32]:
    """The ids of all examples before masking, concatenated, without padding: (tokens,)."""
    return np.concatenate([np.empty(0, np.int32), *(unmasked_ids(batch)[batch.mask > 0] for batch in batches)])
