"""A tokenizer and a batch of texts → the lines of output that stand for them, as text or as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import orjson

from stages.tokenizer.lines import BadLine, Where
from stages.words.encoding import Options, Tokenizer
from stages.words.filling import Mask, MaskedLanguageModel, TooLong, WithoutMask

TEXT, JSON = "text", "jsonl"


class Texts(NamedTuple):
    """Texts of one read, where each stands, and the JSON objects that they came in, if any."""

    where: Where
    texts: list[str]
    objects: list[dict[str, Any]] | None


def read_texts(lines: list[str], where: Where, form: str) -> Texts:
    """The texts of lines: these as they are, or of JSON lines the strings, or their objects' "text". Refuses others."""
    if form == TEXT:
        return Texts(where, lines, None)
    objects = []
    for place, line in enumerate(lines):
        read = _json(line, where, place)
        read = {"text": read} if isinstance(read, str) else read
        if not isinstance(read, dict) or not isinstance(read.get("text"), str):
            raise BadLine(where, place, ': neither a JSON string nor an object with a "text", as --from jsonl wants')
        objects.append(read)
    return Texts(where, [read["text"] for read in objects], objects)


def tokenized(tokenizer: Tokenizer, given: Texts, form: str) -> bytes:
    """The tokens of each text, joined by spaces, or as `tokens`."""
    if form == TEXT:
        return tokenizer.lines(given.texts)
    return _json_lines(given, ({"tokens": tokens} for tokens in tokenizer.tokens(given.texts)))


def encoded(tokenizer: Tokenizer, given: Texts, form: str, options: Options) -> bytes:
    """The ids of each text, joined by spaces, or `input_ids`, `tokens`, `offsets` and `word_ids`, of one length.

    An offset is [start, end] in the characters (code points) of the text as given; [0, 0] for [CLS] and [SEP].
    """
    rows = tokenizer.rows(given.texts, options)
    if form == TEXT:
        return "".join(" ".join(map(str, row.input_ids)) + "\n" for row in rows).encode()
    return _json_lines(given, (row._asdict() for row in rows))


def decoded(tokenizer: Tokenizer, lines: list[str], where: Where, form: str, skip_special_tokens: bool) -> bytes:
    """The text of each line of ids: numbers and spaces, a JSON list of numbers, or a JSON object's `input_ids`."""
    texts = []
    for place, line in enumerate(lines):
        try:
            texts.append(tokenizer.decode(_ids(line, where, place), skip_special_tokens))
        except ValueError as error:
            raise BadLine(where, place, f": {error}")
    if form == TEXT:
        return "".join(text + "\n" for text in texts).encode()
    return _json_lines(Texts(where, texts, None), ({"text": text} for text in texts))


def filled(model: MaskedLanguageModel, given: Texts, form: str, top_k: int) -> bytes:
    """What the model puts for each [MASK] of each text: words and probabilities, a tab between masks; or `masks`."""
    try:
        answers = model.fill(given.texts, top_k)
    except (TooLong, WithoutMask) as error:
        raise BadLine(given.where, error.place, f": {error}")
    if form == TEXT:
        return "".join("\t".join(map(_fills, masks)) + "\n" for masks in answers).encode()
    return _json_lines(given, ({"masks": [mask.as_json() for mask in masks]} for masks in answers))


def _fills(mask: Mask) -> str:
    return " ".join(f"{fill.token} {fill.score:.4f}" for fill in mask.fills)


def _json_lines(given: Texts, answers: Iterable[dict[str, Any]]) -> bytes:
    """An object a line; a text that came in an object keeps what else is in it."""
    objects: Sequence[dict[str, Any]] = given.objects if given.objects is not None else [{}] * len(given.texts)
    lines = [orjson.dumps({**own, **answer}) for own, answer in zip(objects, answers, strict=True)]
    return b"\n".join([*lines, b""])


def _ids(line: str, where: Where, place: int) -> list[int]:
    read: Any = line.split()
    if line.lstrip()[:1] in ("[", "{"):
        read = _json(line, where, place)
        read = read.get("input_ids") if isinstance(read, dict) else read
        if isinstance(read, list) and all(type(id_) is int for id_ in read):
            return read
    elif all(word.isascii() and word.isdigit() and len(word) < 10 for word in read):
        return [int(word) for word in read]
    raise BadLine(
        where, place, ': no ids; decode reads "2 15 3", a JSON list of numbers, or an object with "input_ids"'
    )


def _json(line: str, where: Where, place: int) -> Any:
    try:
        return orjson.loads(line)
    except ValueError as error:
        raise BadLine(where, place, f" is not JSON: {error}")
