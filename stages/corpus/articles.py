"""A batch of documents → the text of its articles after cleaning, and counts."""

import functools
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from stages.command.refusal import Refusal
from stages.corpus import sentences
from stages.corpus.cleaning import Cleaner
from stages.corpus.documents import Batch, Fault, documents


@dataclass(frozen=True)
class Rules:
    """The rules for leaving out documents, sentences and lines. Lengths are inclusive, in characters."""

    min_length: int
    max_length: int
    skip_bad_lines: bool
    skip_ids: frozenset[str]


class Size(NamedTuple):
    """The size of an article: `bytes` with line ends and the final blank line, `characters` without them."""

    bytes: int
    sentences: int
    characters: int


class Articles(NamedTuple):
    """The articles of a batch. `text`: one sentence a line, a blank line after each article.

    `sizes` holds the three numbers of a `Size` for each article. `counts` counts the `documents` and `sentences` read,
    `dropped` the documents, sentences and lines left out, by (kind, reason).
    """

    text: bytes
    sizes: "array[int]"
    counts: Counter[str]
    dropped: Counter[tuple[str, str]]

    def split(self) -> Iterator[tuple[Size, bytes]]:
        """The size and text of each article, in order."""
        numbers = iter(self.sizes)
        end = 0
        for size in map(Size, numbers, numbers, numbers):
            start, end = end, end + size.bytes
            yield size, self.text[start:end]


def make_articles(batch: Batch, rules: Rules) -> Articles:
    """Clean, split and filter every document of a batch. Raises Refusal for a bad line, unless they are skipped."""
    cleaner = _cleaner()
    texts: list[bytes] = []
    sizes = array("q")
    counts: Counter[str] = Counter()
    dropped: Counter[tuple[str, str]] = Counter()
    numbers = sentences.Counts()
    for document in documents(batch, rules.skip_ids):
        if isinstance(document, Fault):
            if not rules.skip_bad_lines:
                raise Refusal(
                    f"{batch.path}, line {document.line}: {document.message}; "
                    "repair the file, or count and skip such lines with --skip-bad-lines"
                )
            dropped["lines", document.reason] += 1
            continue
        counts["documents"] += 1
        if document.dropped:
            dropped["documents", document.dropped] += 1
            continue
        kept, characters = numbers.kept, numbers.characters
        length = cleaner.clean(document.text, document.title)
        text = sentences.keep(cleaner.address, length, rules.min_length, rules.max_length, numbers)
        if text:
            texts += text, b"\n"
            sizes.extend(Size(len(text) + 1, numbers.kept - kept, numbers.characters - characters))
        else:
            dropped["documents", "no_sentence_left"] += 1
    counts["sentences"] = numbers.read
    for reason in sentences.REASONS:
        dropped["sentences", reason] = getattr(numbers, reason)
    return Articles(b"".join(texts), sizes, counts, dropped)


@functools.cache
def _cleaner() -> Cleaner:
    """One cleaner for each process, because filling its tables takes time."""
    return Cleaner()
