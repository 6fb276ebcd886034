"""`tokenizer tokenize|encode`: lines of text → one line each, of tokens or of ids, tokens and offsets."""

from __future__ import annotations

import argparse
import sys

from stages.handover import HelpFormatter, Refusal, run

from .files import read_lines, read_tokenizer
from .output_lines import Options, json_line, token_line

DESCRIPTION = """Text to tokens, with the tokenizer of a model folder.

Reads UTF-8 lines from the files named, else from standard input, and writes one line for each, in order.
Needs no network, and runs no code of the model folder."""


def arguments(given: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tokenizer", description=DESCRIPTION, formatter_class=HelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="tokenize|encode")
    tokenize = commands.add_parser("tokenize", help="tokens, joined by spaces", formatter_class=HelpFormatter)
    encode = commands.add_parser(
        "encode", help="JSON lines: input_ids, tokens, offsets in the text", formatter_class=HelpFormatter
    )
    for command in (tokenize, encode):
        command.add_argument("--model", required=True, metavar="M", help="model folder, as make convert writes it")
        command.add_argument("files", nargs="*", metavar="FILE", help="UTF-8 text; - or none is standard input")
    encode.add_argument(
        "--no-special-tokens", action="store_true", help="leave out [CLS] at the start and [SEP] at the end"
    )
    encode.add_argument(
        "--max-length", type=int, metavar="N", help="cut a text to N tokens, [CLS] and [SEP] counted (default: no cut)"
    )
    return parser.parse_args(given)


def main(given: list[str]) -> None:
    flags = arguments(given)
    options = Options()
    if flags.command == "encode":
        options = Options(special_tokens=not flags.no_special_tokens, max_length=flags.max_length)
        least = 3 if options.special_tokens else 1
        if options.max_length is not None and options.max_length < least:
            raise Refusal(f"--max-length is {options.max_length}; it must be {least} or more to leave room for text")
    tokenizer = read_tokenizer(flags.model)
    out = sys.stdout.buffer
    for lines in read_lines(flags.files or ["-"]):
        for text in lines:
            line = token_line(tokenizer, text) if flags.command == "tokenize" else json_line(tokenizer, text, options)
            out.write(line.encode() + b"\n")
        # The next read may wait for a person who waits for these lines.
        out.flush()


if __name__ == "__main__":
    sys.exit(run("tokenizer", main, resumes=False))
