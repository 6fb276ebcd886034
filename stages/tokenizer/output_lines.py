"""A tokenizer and a batch of texts → one line of output for each, as text or as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import orjson

from stages.tokenizer.lines import Address, BadLine
from stages.words.encoding import Options, Tokenizer
from stages.words.filling import FillError, Mask, MaskedLanguageModel

TEXT = "text"


class Texts(NamedTuple):
    """The texts of one read, their addresses, and their JSON objects, if the input has objects."""

    address: Address
    texts: list[str]
    objects: list[dict[str, Any]] | None


def read_texts(lines: list[str], address: Address, form: str) -> Texts:
    """The texts of lines: the lines themselves, or JSON strings, or the "text" of JSON objects. Refuses other JSON."""
    if form == TEXT:
        return Texts(address, lines, None)
    objects = []
    for index, line in enumerate(lines):
        value = _json(line, address, index)
        value = {"text": value} if isinstance(value, str) else value
        if not isinstance(value, dict) or not isinstance(value.get("text"), str):
            raise BadLine(
                address, index, ': neither a JSON string nor an object with a "text", which --from jsonl requires'
            )
        objects.append(value)
    return Texts(address, [value["text"] for value in objects], objects)


def tokenize(tokenizer: Tokenizer, batch: Texts, form: str) -> bytes:
    """The tokens of each text, joined by spaces, or as `tokens`."""
    if form == TEXT:
        return tokenizer.lines(batch.texts)
    return _json_lines(batch, ({"tokens": tokens} for tokens in tokenizer.tokens(batch.texts)))


def encode(tokenizer: Tokenizer, batch: Texts, form: str, options: Options) -> bytes:
    """The ids of each text, joined by spaces, or `input_ids`, `tokens`, `offsets` and `word_ids`, of equal length.

    An offset is [start, end] in characters (code points) of the original text; [0, 0] for [CLS] and [SEP].
    """
    rows = tokenizer.rows(batch.texts, options)
    if form == TEXT:
        return "".join(" ".join(map(str, row.input_ids)) + "\n" for row in rows).encode()
    return _json_lines(batch, (row._asdict() for row in rows))


def decode(tokenizer: Tokenizer, lines: list[str], address: Address, form: str, skip_special_tokens: bool) -> bytes:
    """The text of each line of ids: numbers and spaces, a JSON list of numbers, or a JSON object's `input_ids`."""
    texts = []
    for index, line in enumerate(lines):
        try:
            texts.append(tokenizer.decode(_ids(line, address, index), skip_special_tokens))
        except ValueError as error:
            raise BadLine(address, index, f": {error}")
    if form == TEXT:
        return "".join(text + "\n" for text in texts).encode()
    return _json_lines(Texts(address, texts, None), ({"text": text} for text in texts))


def fill(model: MaskedLanguageModel, batch: Texts, form: str, top_k: int) -> bytes:
    """The entries at each [MASK] of each text: tokens and probabilities, a tab between masks; or `masks`."""
    try:
        results = model.fill(batch.texts, top_k)
    except FillError as error:
        raise BadLine(batch.address, error.index, f": {error}")
    if form == TEXT:
        return "".join("\t".join(map(_fills, masks)) + "\n" for masks in results).encode()
    return _json_lines(batch, ({"masks": [mask.as_json() for mask in masks]} for masks in results))


def _fills(mask: Mask) -> str:
    return " ".join(f"{fill.token} {fill.score:.4f}" for fill in mask.fills)


def _json_lines(batch: Texts, results: Iterable[dict[str, Any]]) -> bytes:
    """One object a line. An object of the input keeps its other fields."""
    objects: Sequence[dict[str, Any]] = batch.objects if batch.objects is not None else [{}] * len(batch.texts)
    lines = [orjson.dumps({**fields, **result}) for fields, result in zip(objects, results, strict=True)]
    return b"\n".join([*lines, b""])


def _ids(line: str, address: Address, index: int) -> list[int]:
    if line.lstrip()[:1] in ("[", "{"):
        value = _json(line, address, index)
        ids = value.get("input_ids") if isinstance(value, dict) else value
        if isinstance(ids, list) and all(type(id_) is int for id_ in ids):
            return ids
    else:
        words = line.split()
        if all(word.isascii() and word.isdigit() and len(word) < 10 for word in words):
            return [int(word) for word in words]
    raise BadLine(
        address, index, ': no ids; decode reads "2 15 3", a JSON list of numbers, or an object with "input_ids"'
    )


def _json(line: str, address: Address, index: int) -> Any:
    try:
        return orjson.loads(line)
    except ValueError as error:
        raise BadLine(address, index, f" is not JSON: {error}")
