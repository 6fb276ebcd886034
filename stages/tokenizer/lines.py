"""Files and standard input → their lines, as they arrive → one line of output for each, as text or as JSON."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any, NamedTuple

import orjson

from stages.command.refusal import Refusal
from stages.tokenizer.options import Decode, Encode, FillMask, Tokenize
from stages.words.encoding import Options, Tokenizer
from stages.words.filling import FillError, MaskedLanguageModel
from stages.words.reading import read_tokenizer, resolve_folder

# The most bytes of one read. A line that is typed into a pipe is answered immediately.
BLOCK_BYTES = 1 << 18
# A longer line is refused: to encode one of 10 MB takes 1.2 GB of memory.
LONGEST_LINE = 1 << 24
TEXT = "text"


class Lines(NamedTuple):
    """The complete lines of one read without their `\\n`: the file's name, the number of the first line, the lines."""

    name: str
    first: int
    lines: list[str]

    def bad(self, index: int, message: str) -> BadLine:
        """The refusal of a line. The message continues a sentence that starts with its place."""
        return BadLine(f"{self.name}, line {self.first + index}{message}", index)


class BadLine(Refusal):
    """A line that cannot be processed; `index`: its place in the lines of one read. The lines before it are valid."""

    def __init__(self, message: str, index: int) -> None:
        super().__init__(message)
        self.index = index


def read_lines(paths: Iterable[str]) -> Iterator[Lines]:
    r"""The lines of files (`-`: standard input). A line ends at `\n` alone.

    Refuses bytes that are not UTF-8, naming file, line and byte, and a line of over 16 MiB, after the lines before it.
    """
    for path in paths:
        name, number = "standard input" if path == "-" else path, 1
        try:
            with open(sys.stdin.fileno() if path == "-" else path, "rb", closefd=path != "-") as stream:
                for raw in _raw_lines(name, stream):
                    yield from _decoded(Lines(name, number, []), raw)
                    number += len(raw)
        except OSError as error:
            raise Refusal(f"cannot read {path}: {error.strerror}")


def _raw_lines(name: str, stream: IO[bytes]) -> Iterator[list[bytes]]:
    parts: list[bytes] = []  # of the line that is not complete
    size = number = 0
    while block := stream.read1(BLOCK_BYTES):  # type: ignore[attr-defined]
        first, *rest = block.split(b"\n")
        parts.append(first)
        size += len(first)
        if size > LONGEST_LINE:
            limit = f"over {LONGEST_LINE >> 20} MiB without an end"
            raise Refusal(f"{name}, line {number + 1}: {limit}; is it text, in lines?")
        if rest:
            lines = [b"".join(parts), *rest[:-1]]
            number += len(lines)
            yield lines
            parts, size = [rest[-1]], len(rest[-1])
    if any(parts):
        yield [b"".join(parts)]


def _decoded(lines: Lines, raw: list[bytes]) -> Iterator[Lines]:
    """`lines` with the texts of the raw ones. Those before an invalid line come before its refusal."""
    for line in raw:
        try:
            lines.lines.append(line.decode())
        except UnicodeDecodeError as error:
            yield lines
            byte = f"byte {error.start + 1} (0x{line[error.start]:02x})"
            remedy = "convert the text first, with iconv for instance"
            raise lines.bad(len(lines.lines), f", {byte}: not UTF-8; {remedy}")
    yield lines


def processor(options: Any) -> Callable[[Lines], bytes]:
    """The function of a command: lines → a line of output for each, as text or as JSON."""
    folder = resolve_folder(options.model)
    tokenizer = read_tokenizer(folder)
    if isinstance(options, FillMask):
        model = MaskedLanguageModel(folder, tokenizer, options.threads)

    def results(lines: Lines, texts: list[str]) -> list[dict[str, Any]]:
        if isinstance(options, Decode):
            skip = not options.keep_special_tokens
            return [{"text": _decode(tokenizer, lines, index, skip)} for index in range(len(texts))]
        if isinstance(options, Encode):
            frame = Options(not options.no_special_tokens, options.max_length)
            return [row._asdict() for row in tokenizer.rows(texts, frame)]
        if isinstance(options, FillMask):
            try:
                return [{"masks": [mask.as_json() for mask in masks]} for masks in model.fill(texts, options.top_k)]
            except FillError as error:
                raise lines.bad(error.index, f": {error}")
        return [{"tokens": tokens} for tokens in tokenizer.tokens(texts)]

    def process(lines: Lines) -> bytes:
        texts = lines.lines
        objects: list[dict[str, Any]] = [{}] * len(texts)
        if not isinstance(options, Decode) and options.form != TEXT:
            objects = [_object(lines, index) for index in range(len(texts))]
            texts = [fields["text"] for fields in objects]
        if options.to != TEXT:
            # An object of the input keeps its other fields.
            pairs = zip(objects, results(lines, texts), strict=True)
            return b"".join(orjson.dumps({**fields, **result}) + b"\n" for fields, result in pairs)
        if type(options) is Tokenize:
            return tokenizer.lines(texts)
        return "".join(_in_text(result) + "\n" for result in results(lines, texts)).encode()

    return process


def _in_text(result: dict[str, Any]) -> str:
    """A result as a line of text: ids, entries with their probabilities and a tab between masks, or the text."""
    if "input_ids" in result:
        return " ".join(map(str, result["input_ids"]))
    if "masks" in result:
        fills = [[f"{fill['token']} {fill['score']:.4f}" for fill in mask["fills"]] for mask in result["masks"]]
        return "\t".join(map(" ".join, fills))
    return str(result["text"])


def _object(lines: Lines, index: int) -> dict[str, Any]:
    """The JSON object of a line, or one with the JSON string of a line as its "text". Refuses other JSON."""
    value = _json(lines, index)
    value = {"text": value} if isinstance(value, str) else value
    if not isinstance(value, dict) or not isinstance(value.get("text"), str):
        raise lines.bad(index, ': neither a JSON string nor an object with a "text", which --from jsonl requires')
    return value


def _decode(tokenizer: Tokenizer, lines: Lines, index: int, skip_special_tokens: bool) -> str:
    """The text of a line of ids: numbers and spaces, a JSON list of numbers, or a JSON object's `input_ids`."""
    line = lines.lines[index]
    ids: Any
    if line.lstrip()[:1] in ("[", "{"):
        value = _json(lines, index)
        ids = value.get("input_ids") if isinstance(value, dict) else value
        valid = isinstance(ids, list) and all(type(id_) is int for id_ in ids)
    else:
        ids = line.split()
        valid = all(word.isascii() and word.isdigit() and len(word) < 10 for word in ids)
    if not valid:
        raise lines.bad(index, ': no ids; decode reads "2 15 3", a JSON list of numbers, or an object with "input_ids"')
    try:
        return tokenizer.decode(list(map(int, ids)), skip_special_tokens)
    except ValueError as error:
        raise lines.bad(index, f": {error}")


def _json(lines: Lines, index: int) -> Any:
    try:
        return orjson.loads(lines.lines[index])
    except ValueError as error:
        raise lines.bad(index, f" is not JSON: {error}")
