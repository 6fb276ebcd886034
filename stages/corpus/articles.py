"""A batch of documents → the articles that are left after cleaning, as corpus text, and counts of all that was met."""

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
    """Which documents, sentences and lines are left out. Lengths are in characters, both ends included."""

    min_length: int
    max_length: int
    skip_bad_lines: bool
    skip_ids: frozenset[str]


class Article(NamedTuple):
    """The size of an article: `bytes` with the line ends and the blank line behind it, `characters` without them."""

    bytes: int
    sentences: int
    characters: int


class Made(NamedTuple):
    """What came of a batch: the `text` of its articles, one sentence a line, a blank line behind each article.

    `sizes` are those of the articles, the numbers of an `Article` for each. `counts` are the `documents` and
    `sentences` met, `dropped` those of them and the `lines` left out, by (what, reason).
    """

    text: bytes
    sizes: "array[int]"
    counts: Counter[str]
    dropped: Counter[tuple[str, str]]

    def articles(self) -> Iterator[tuple[Article, bytes]]:
        """Each article's size and text, in order."""
        numbers = iter(self.sizes)
        end = 0
        for size in map(Article, numbers, numbers, numbers):
            start, end = end, end + size.bytes
            yield size, self.text[start:end]


def make_articles(batch: Batch, rules: Rules) -> Made:
    """Clean, split and filter every document of a batch. A line that cannot be read is refused, or counted."""
    cleaner = _cleaner()
    texts: list[bytes] = []
    made = Made(b"", array("q"), Counter(), Counter())
    found = sentences.Counts()
    for document in documents(batch, rules.skip_ids):
        if isinstance(document, Fault):
            if not rules.skip_bad_lines:
                raise Refusal(
                    f"{batch.path}, line {document.line}: {document.message}; "
                    "mend the file, or count and skip such lines with --skip-bad-lines"
                )
            made.dropped["lines", document.reason] += 1
            continue
        made.counts["documents"] += 1
        if document.dropped:
            made.dropped["documents", document.dropped] += 1
            continue
        kept, characters = found.kept, found.characters
        length = cleaner.clean(document.text, document.title)
        text = sentences.keep(cleaner.points_at, length, rules.min_length, rules.max_length, found)
        if text:
            texts += text, b"\n"
            made.sizes.extend(Article(len(text) + 1, found.kept - kept, found.characters - characters))
        else:
            made.dropped["documents", "no_sentence_left"] += 1
    made.counts["sentences"] = found.met
    for reason in sentences.REASONS:
        made.dropped["sentences", reason] = getattr(found, reason)
    return made._replace(text=b"".join(texts))


@functools.cache
def _cleaner() -> Cleaner:
    """One for a process: its tables are filled once."""
    return Cleaner()
