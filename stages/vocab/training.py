"""Word frequencies → the entries of the WordPiece and of the character vocabulary, deterministically."""

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.trainers import WordPieceTrainer

from stages.command.refusal import Refusal
from stages.words.japanese_subwords import SPECIAL_TOKENS

# A pair of pieces is merged if it occurs at least this often: the published recipe's value, and the default of the
# `tokenizers` library for BERT.
LEAST_FREQUENCY = 2
# Words in one call of the trainer: enough that the calls cost nothing, few enough for memory.
BLOCK = 1 << 12


class Vocabularies(NamedTuple):
    """Entries in the order of their ids. `character` is the beginning of `wordpiece`."""

    wordpiece: list[str]
    character: list[str]


def choose_alphabet(words: Counter[str], size: int) -> list[str]:
    """The `size` most frequent characters, ties by code point, in the order of their code points."""
    characters: Counter[str] = Counter()
    for word, frequency in words.items():
        for character in word:
            characters[character] += frequency
    by_frequency = sorted(characters, key=lambda character: (-characters[character], character))
    return sorted(by_frequency[:size])


def train(words: Counter[str], vocabulary_size: int, alphabet_size: int, unused: int) -> Vocabularies:
    """Train WordPiece with the `tokenizers` library on words and their frequencies.

    The library breaks ties by hash order, which differs from run to run, in two places: where it cuts the alphabet,
    and in the ids of the `##` characters, which decide between merges of equal frequency. Both are fixed here and
    passed to the library as special tokens in order; the rest is deterministic.

    Words with a character outside the alphabet are left out, since inference makes the whole word `[UNK]`. The library
    would drop the character and learn pieces across the gap.

    Refuses a `vocabulary_size` without room for special tokens, alphabet and `##` characters.
    """
    specials = [*SPECIAL_TOKENS, *(f"<unused{number}>" for number in range(unused))]
    alphabet = choose_alphabet(words, alphabet_size)
    characters = set(alphabet)
    trainable = Counter({word: words[word] for word in sorted(words) if characters.issuperset(word)})
    continuations = sorted({"##" + character for word in trainable for character in word[1:]})
    fixed = [*specials, *alphabet, *continuations]
    if len(fixed) > vocabulary_size:
        raise Refusal(
            f"--vocab-size is too small: {len(specials)} special and unused entries, {len(alphabet)} characters and "
            f"{len(continuations)} ## characters are already {len(fixed)}, more than {vocabulary_size}; raise it or "
            "lower --alphabet-size"
        )

    tokenizer = Tokenizer(WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    trainer = WordPieceTrainer(
        vocab_size=vocabulary_size,
        min_frequency=LEAST_FREQUENCY,
        limit_alphabet=len(alphabet),
        special_tokens=fixed,
        show_progress=False,
    )
    tokenizer.train_from_iterator(_blocks(trainable), trainer)
    ids = tokenizer.get_vocab()
    entries = sorted(ids, key=ids.__getitem__)
    return Vocabularies(entries, entries[: len(specials) + len(alphabet)])


def _blocks(words: Counter[str]) -> Iterator[str]:
    """Each word as often as it occurs, separated by spaces, in strings of at most `BLOCK` words.

    The library accepts no counts, so it counts again: 0.4 µs a word, most of the training time of a large corpus.
    """
    elements = words.elements()
    while block := list(islice(elements, BLOCK)):
        yield " ".join(block)
