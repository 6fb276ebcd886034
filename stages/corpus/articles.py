"""A batch of documents → the articles that are left after cleaning, as corpus text, and counts of all that was met."""

from collections import Counter
from typing import NamedTuple

from stages.corpus import cleaning, sentences
from stages.corpus.documents import Batch, Fault, documents


class Article(NamedTuple):
    """`text`: its sentences, one a line, and a blank line, in UTF-8. `characters` counts no line ends."""

    text: bytes
    sentences: int
    characters: int


class Made(NamedTuple):
    """What came of a batch of the file at `path`: its articles in order and the lines that could not be read.

    `counts` are the `documents` and `sentences` met, `dropped` those of them left out, by (what, reason).
    """

    path: str
    articles: list[Article]
    counts: Counter[str]
    dropped: Counter[tuple[str, str]]
    faults: list[Fault]


def make_articles(batch: Batch, min_length: int, max_length: int, skip_ids: frozenset[str]) -> Made:
    """Clean, split and filter every document of a batch. Lengths of sentences are in characters, inclusive."""
    made = Made(batch.path, [], Counter(), Counter(), [])
    for document in documents(batch, skip_ids):
        if isinstance(document, Fault):
            made.faults.append(document)
            continue
        made.counts["documents"] += 1
        if document.dropped:
            made.dropped["documents", document.dropped] += 1
            continue
        kept = []
        met = sentences.split(cleaning.clean(document.text, document.title))
        made.counts["sentences"] += len(met)
        for sentence in met:
            reason = sentences.reason_to_drop(sentence, min_length, max_length)
            if reason:
                made.dropped["sentences", reason] += 1
            else:
                kept.append(sentence)
        if kept:
            text = "\n".join(kept) + "\n\n"
            made.articles.append(Article(text.encode(), len(kept), len(text) - len(kept) - 1))
        else:
            made.dropped["documents", "no_sentence_left"] += 1
    return made
