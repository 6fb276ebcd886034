"""Sentences → how often each word occurs in them."""

from collections import Counter
from collections.abc import Iterable

from stages.tokenizer.japanese_subwords import LONGEST_WORD, normalise, split_words


def count_words(sentences: Iterable[str]) -> Counter[str]:
    """Words as the tokenizer splits them at inference, with their frequencies.

    Words of more than 100 characters are left out: the tokenizer makes them `[UNK]`, so no entry that is
    trained on them could ever be produced.
    """
    words: Counter[str] = Counter()
    for sentence in sentences:
        words.update(split_words(normalise(sentence)))
    for word in [word for word in words if len(word) > LONGEST_WORD]:
        del words[word]
    return words
