"""A CirrusSearch dump in gzip → corpus shards, by the standard library alone, in one process.

The yardstick of the corpus stage: the same rules in their simplest form. Prints the number of characters kept.
"""

import gzip
import itertools
import json
import os
import re
import unicodedata
from contextlib import ExitStack

REFERENCE = re.compile(r"\[\d+\]")
REQUEST = re.compile(r"\[要.+?\]")
TEMPLATE = re.compile(r"\{{2,}[^{}]+\}{2,}")
MARK = re.compile(r"\[(?:要出典|リンク切れ|.+?\?)\]")
SPACE = re.compile(r"\s+")
SENTENCE = re.compile(r"[^。?!]*[。?!]+|[^。?!]+")


def normalise(text: str) -> str:
    """NFKC, printable characters only."""
    return "".join(character for character in unicodedata.normalize("NFKC", text) if character.isprintable())


def clean(text: str, title: str | None) -> str:
    """The text without references, requests, templates, breadcrumb, footnotes and marks; single spaces."""
    text = normalise(text)
    for pattern in (REFERENCE, REQUEST, TEMPLATE):
        text = pattern.sub("", text)
    if title and normalise(title):
        crumb = " > " + normalise(title)
        start = text.find(crumb, 1)
        if start > 0:
            text = text[start + len(crumb) :]
    body, footnotes, rest = text.partition(" ^ ")
    if footnotes and rest:
        text = body
    text = MARK.sub("", text)
    return SPACE.sub(" ", text).strip()


def main(path: str, out: str, shards: str) -> None:
    os.makedirs(out)
    names = [os.path.join(out, f"corpus_{shard:05d}.txt") for shard in range(int(shards))]
    characters = 0
    with ExitStack() as opened, gzip.open(path, "rt", encoding="utf-8") as lines:
        files = itertools.cycle([opened.enter_context(open(name, "w", encoding="utf-8")) for name in names])
        for action, line in zip(lines, lines, strict=True):
            json.loads(action)
            document = json.loads(line)
            text = document.get("text")
            if document.get("page_type") == "redirect" or document.get("namespace") not in (None, 0, "0") or not text:
                continue
            pieces = [piece.strip() for piece in SENTENCE.findall(clean(text, document.get("title")))]
            sentences = [piece for piece in pieces if 10 <= len(piece) <= 250 and "\\displaystyle" not in piece]
            if sentences:
                next(files).write("\n".join(sentences) + "\n\n")
                characters += sum(map(len, sentences))
    print(characters)
