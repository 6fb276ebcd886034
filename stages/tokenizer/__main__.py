"""`tokenizer tokenize|encode|decode|fill-mask`: lines in → one line each out; `serve`: the same over HTTP."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from stages.handover import HelpFormatter, Refusal, number, run

DESCRIPTION = """Text to tokens and ids, ids to text, and masked words filled, with the tokenizer of a model folder.

Reads UTF-8 lines from the files named, else from standard input, and writes one line for each, in order.
Needs no network, and runs no code of the model folder."""
EXAMPLES = {
    "tokenize": """
  echo 日本語の文です。 | tokenizer tokenize --model models/character/tiny
  tokenizer tokenize --model models/wordpiece_tinysegmenter/tiny --from jsonl --to jsonl articles.jsonl""",
    "encode": """
  echo 日本語の文です。 | tokenizer encode --model models/character/tiny
  tokenizer encode --model models/character/tiny --to text --max-length 128 a.txt b.txt > ids.txt""",
    "decode": """
  echo 2 15 7 3 | tokenizer decode --model models/character/tiny
  tokenizer encode --model M text.txt | tokenizer decode --model M --keep-special-tokens""",
    "fill-mask": """
  echo '日本の首都は[MASK]である。' | tokenizer fill-mask --model released/character/tiny
  tokenizer fill-mask --model models/character/tiny --top-k 1 --to jsonl masked.txt""",
    "serve": """
  tokenizer serve --models models
  curl -s localhost:8000/v1/tokenize --json '{"text": "日本語の文です。"}'""",
}
IDS = "ids: numbers and spaces, JSON lists, or JSON objects with input_ids; - or none is standard input"
MODEL = "model folder, as make convert writes it, or one that comes with this project: released/character/tiny"
COMMANDS = {
    "tokenize": "tokens, joined by spaces",
    "encode": "JSON lines: input_ids, tokens, offsets in the text, word_ids",
    "decode": "ids → text",
    "fill-mask": "what the model would put for each [MASK]; needs the folder's model.onnx",
    "serve": "all of these over HTTP, and a page that shows them",
}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="tokenizer", description=DESCRIPTION, formatter_class=HelpFormatter)
    commands = made.add_subparsers(dest="command", required=True, metavar="|".join(COMMANDS))
    added = {
        name: commands.add_parser(
            name, help=text, description=f"{text}\n\nexamples:{EXAMPLES[name]}", formatter_class=HelpFormatter
        )
        for name, text in COMMANDS.items()
    }
    for name in ("tokenize", "encode", "decode", "fill-mask"):
        command = added[name]
        command.add_argument("--model", required=True, metavar="M", help=MODEL)
        command.add_argument(
            "files", nargs="*", metavar="FILE", help=IDS if name == "decode" else "UTF-8; - or none is standard input"
        )
        if name != "decode":
            command.add_argument(
                "--from", dest="form", choices=("text", "jsonl"), default="text",
                help='input: a text a line, or JSON a line, a string or an object with "text"',
            )  # fmt: skip
        command.add_argument(
            "--to", choices=("text", "jsonl"), default="jsonl" if name == "encode" else "text",
            help="output: text or JSON lines" + "; an object of the input keeps its other fields" * (name != "decode"),
        )  # fmt: skip
    encode = added["encode"]
    encode.add_argument(
        "--no-special-tokens", action="store_true", help="leave out [CLS] at the start and [SEP] at the end"
    )
    encode.add_argument(
        "--max-length", type=int, metavar="N", help="cut a text to N tokens, [CLS] and [SEP] counted (default: no cut)"
    )
    added["decode"].add_argument("--keep-special-tokens", action="store_true", help="write [CLS], [MASK] and the like")
    added["fill-mask"].add_argument("--top-k", type=number(int, 1), default=5, metavar="K", help="entries for a mask")
    for name in ("fill-mask", "serve"):
        added[name].add_argument(
            "--threads", type=number(int, 0), default=0, metavar="N", help="processors for a model; 0: all"
        )
    _add_serve(added["serve"])
    return made


def _add_serve(serve: argparse.ArgumentParser) -> None:
    add = serve.add_argument
    add(
        "--models",
        default="models",
        metavar="DIR",
        help="a model folder, or a folder of them: a model's name is its path; released: those of this project",
    )
    add("--default", metavar="NAME", help="the model of a request that names none (default: the first by name)")
    add("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0: all of them")
    add("--port", type=number(int, 0), default=8000, help="port to listen on; 0: any that is free")
    add(
        "--max-body",
        type=number(int, 1),
        default=1 << 20,
        metavar="BYTES",
        help="a longer request body is refused, 413",
    )
    add("--max-texts", type=number(int, 1), default=256, metavar="N", help="more texts in a request are refused, 422")
    add("--max-characters", type=number(int, 1), default=100_000, metavar="N", help="longer texts are refused, 422")
    add("--max-waiting", type=number(int, 1), default=1024, metavar="N", help="requests at once; more are refused, 503")
    add("--timeout", type=number(float, 0.001), default=30.0, metavar="S", help="seconds that a request may take")
    add("--quiet", action="store_true", help="log no requests, only the start, the end and faults")


def _answer(flags: argparse.Namespace) -> Callable[..., bytes]:
    """Lines and where they stand → the output."""
    from stages.tokenizer import output_lines as out
    from stages.words.encoding import Options
    from stages.words.reading import located, read_tokenizer

    if flags.command == "encode":
        options = Options(not flags.no_special_tokens, flags.max_length)
        if options.max_length is not None and options.max_length < options.least:
            raise Refusal(
                f"--max-length is {options.max_length}; it must be {options.least} or more to leave room for text"
            )
    folder = located(flags.model)
    tokenizer = read_tokenizer(folder)
    if flags.command == "tokenize":
        return lambda lines, where: out.tokenized(tokenizer, out.read_texts(lines, where, flags.form), flags.to)
    if flags.command == "encode":
        return lambda lines, where: out.encoded(tokenizer, out.read_texts(lines, where, flags.form), flags.to, options)
    if flags.command == "decode":
        return lambda lines, where: out.decoded(tokenizer, lines, where, flags.to, not flags.keep_special_tokens)
    from stages.words.filling import MaskedLanguageModel

    model = MaskedLanguageModel(folder, tokenizer, flags.threads)
    return lambda lines, where: out.filled(model, out.read_texts(lines, where, flags.form), flags.to, flags.top_k)


def main(given: list[str]) -> None:
    flags = parser().parse_args(given)
    if flags.command == "serve":
        from stages.tokenizer.service.command import serve

        serve(flags)
        return
    from stages.tokenizer.lines import BadLine, read_lines

    answer = _answer(flags)
    out = sys.stdout.buffer
    for where, lines in read_lines(flags.files or ["-"]):
        try:
            out.write(answer(lines, where))
        except BadLine as bad:
            out.write(answer(lines[: bad.number], where))
            raise
        # The next read may wait for a person who waits for these lines.
        out.flush()


if __name__ == "__main__":
    sys.exit(run("tokenizer", main, resumes=False))
