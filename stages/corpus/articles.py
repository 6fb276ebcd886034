"""A batch of documents → the text of its articles: cleaned, split into sentences, filtered and counted.

A sentence ends after a run of `。`, `?` and `!`, and where a paragraph ends; the last sentence of a text may have no
such end. Sentences are trimmed, and empty ones do not count. A sentence is dropped for one of `REASONS`, checked in
this order: it is too short, too long, or contains `\\displaystyle`. These rules are C (`sentences.c`).
"""

import ctypes
import functools
import os
from array import array
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from stages import compiled
from stages.command.refusal import Refusal
from stages.corpus.cleaning import Cleaner
from stages.corpus.documents import Batch, Fault, documents
from stages.corpus.options import Options

REASONS = ("too_short", "too_long", "equation")


class Articles(NamedTuple):
    """The articles of a batch. `text`: one sentence a line, a blank line after each article.

    `sizes` holds three numbers for each article: its bytes in `text`, its sentences, and its characters without line
    ends. `counts` counts the `documents` and `sentences` read, `dropped` the documents, sentences and lines left out,
    by (kind, reason).
    """

    text: bytes
    sizes: "array[int]"
    counts: Counter[str]
    dropped: Counter[tuple[str, str]]


def make_articles(batch: Batch, options: Options, skip_ids: frozenset[str]) -> Articles:
    """Clean, split and filter every document of a batch. Raises Refusal for a bad line, unless they are skipped."""
    cleaner, _ = _rules()
    texts: list[bytes] = []
    sizes = array("q")
    counts: Counter[str] = Counter()
    dropped: Counter[tuple[str, str]] = Counter()
    numbers = Counts()
    for document in documents(batch, skip_ids):
        if isinstance(document, Fault):
            if not options.skip_bad_lines:
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
        text = keep(cleaner.address, length, options.min_length, options.max_length, numbers)
        if text:
            texts += text, b"\n"
            sizes.extend((len(text) + 1, numbers.kept - kept, numbers.characters - characters))
        else:
            dropped["documents", "no_sentence_left"] += 1
    counts["sentences"] = numbers.read
    for reason in REASONS:
        dropped["sentences", reason] = getattr(numbers, reason)
    return Articles(b"".join(texts), sizes, counts, dropped)


class Counts(ctypes.Structure):
    """Numbers of sentences read, kept and dropped, and of the characters of those kept."""

    _fields_ = [(name, ctypes.c_int64) for name in ("read", "kept", "characters", *REASONS)]


def keep(address: int, length: int, min_length: int, max_length: int, counts: Counts) -> bytes:
    """The sentences of `min_length` to `max_length` characters, each with a line end, in UTF-8. Adds to `counts`.

    `address` is that of `length` code points of clean text and of room for one more. They are overwritten.
    """
    _, function = _rules()
    return ctypes.string_at(address, function(address, length, min_length, max_length, counts))


@functools.cache
def _rules() -> tuple[Cleaner, Callable[..., int]]:
    """Cleaning and splitting, once for each process, because filling the cleaner's tables takes time."""
    function = compiled.library(os.path.join(os.path.dirname(__file__), "sentences.c")).keep
    function.restype = ctypes.c_int64
    function.argtypes = [ctypes.c_void_p, *[ctypes.c_int64] * 3, ctypes.POINTER(Counts)]
    return Cleaner(), function
