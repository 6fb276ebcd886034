"""A tokenizer and a batch of texts → one line of output for each, as text or as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import orjson

from stages.tokenizer.lines import Lines
from stages.words.encoding import Options, Tokenizer
from stages.words.filling import FillError, Mask, MaskedLanguageModel

TEXT = "text"


class Texts(NamedTuple):
    """The texts of one read, their lines, and the JSON object of each text, empty if the input has no objects."""

    lines: Lines
    texts: list[str]
    objects: list[dict[str, Any]]


def read_texts(lines: Lines, form: str) -> Texts:
    """The texts of lines: the lines themselves, or JSON strings, or the "text" of JSON objects. Refuses other JSON."""
    if form == TEXT:
        return Texts(lines, lines.texts, [{}] * len(lines.texts))
    objects = []
    for index in range(len(lines.texts)):
        value = _json(lines, index)
        value = {"text": value} if isinstance(value, str) else value
        if not isinstance(value, dict) or not isinstance(value.get("text"), str):
            raise lines.bad(index, ': neither a JSON string nor an object with a "text", which --from jsonl requires')
        objects.append(value)
    return Texts(lines, [value["text"] for value in objects], objects)


def tokenize(tokenizer: Tokenizer, batch: Texts, form: str) -> bytes:
    """The tokens of each text, joined by spaces, or as `tokens`."""
    if form == TEXT:
        return tokenizer.lines(batch.texts)
    return _json_lines(batch.objects, ({"tokens": tokens} for tokens in tokenizer.tokens(batch.texts)))


def encode(tokenizer: Tokenizer, batch: Texts, form: str, options: Options) -> bytes:
    """The ids of each text, joined by spaces, or `input_ids`, `tokens`, `offsets` and `word_ids`, of equal length.

    An offset is [start, end] in characters (code points) of the original text; [0, 0] for [CLS] and [SEP].
    """
    rows = tokenizer.rows(batch.texts, options)
    if form == TEXT:
        return _text_lines(" ".join(map(str, row.input_ids)) for row in rows)
    return _json_lines(batch.objects, (row._asdict() for row in rows))


def decode(tokenizer: Tokenizer, lines: Lines, form: str, skip_special_tokens: bool) -> bytes:
    """The text of each line of ids: numbers and spaces, a JSON list of numbers, or a JSON object's `input_ids`."""
    texts = []
    for index in range(len(lines.texts)):
        try:
            texts.append(tokenizer.decode(_ids(lines, index), skip_special_tokens))
        except ValueError as error:
            raise lines.bad(index, f": {error}")
    return _text_lines(texts) if form == TEXT else _json_lines([{}] * len(texts), ({"text": text} for text in texts))


def fill(model: MaskedLanguageModel, batch: Texts, form: str, top_k: int) -> bytes:
    """The entries at each [MASK] of each text: tokens and probabilities, a tab between masks; or `masks`."""
    try:
        results = model.fill(batch.texts, top_k)
    except FillError as error:
        raise batch.lines.bad(error.index, f": {error}")
    if form == TEXT:
        return _text_lines("\t".join(map(_fills, masks)) for masks in results)
    return _json_lines(batch.objects, ({"masks": [mask.as_json() for mask in masks]} for masks in results))


def _fills(mask: Mask) -> str:
    return " ".join(f"{fill.token} {fill.score:.4f}" for fill in mask.fills)


def _text_lines(lines: Iterable[str]) -> bytes:
    return "".join(line + "\n" for line in lines).encode()


def _json_lines(objects: list[dict[str, Any]], results: Iterable[dict[str, Any]]) -> bytes:
    """One object a line. An object of the input keeps its other fields."""
    lines = [orjson.dumps({**fields, **result}) for fields, result in zip(objects, results, strict=True)]
    return b"\n".join([*lines, b""])


def _ids(lines: Lines, index: int) -> list[int]:
    line = lines.texts[index]
    if line.lstrip()[:1] in ("[", "{"):
        value = _json(lines, index)
        ids = value.get("input_ids") if isinstance(value, dict) else value
        if isinstance(ids, list) and all(type(id_) is int for id_ in ids):
            return ids
    else:
        words = line.split()
        if all(word.isascii() and word.isdigit() and len(word) < 10 for word in words):
            return [int(word) for word in words]
    raise lines.bad(index, ': no ids; decode reads "2 15 3", a JSON list of numbers, or an object with "input_ids"')


def _json(lines: Lines, index: int) -> Any:
    try:
        return orjson.loads(lines.texts[index])
    except ValueError as error:
        raise lines.bad(index, f" is not JSON: {error}")
