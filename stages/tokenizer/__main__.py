"""`tokenizer tokenize|encode|decode|fill-mask`: lines in → one line each out."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from stages.command.options import HelpFormatter, add_options, from_namespace
from stages.command.running import run
from stages.tokenizer.options import Decode, Encode, FillMask, Tokenize

DESCRIPTION = """Text to tokens and ids, ids to text, and masked words filled, with the tokenizer of a model folder.

Reads UTF-8 lines from files or standard input, and writes one line for each, in order.
Needs no network, and runs no code of the model folder."""
# Command → its options, what it writes, examples.
COMMANDS = {
    "tokenize": (Tokenize, "tokens, joined by spaces", """
  echo 日本語の文です。 | tokenizer tokenize --model models/character/tiny
  tokenizer tokenize --model models/wordpiece_tinysegmenter/tiny --from jsonl --to jsonl articles.jsonl"""),
    "encode": (Encode, "JSON lines: input_ids, tokens, offsets in the text, word_ids", """
  echo 日本語の文です。 | tokenizer encode --model models/character/tiny
  tokenizer encode --model models/character/tiny --to text --max-length 128 a.txt b.txt > ids.txt"""),
    "decode": (Decode, "ids → text", """
  echo 2 15 7 3 | tokenizer decode --model models/character/tiny
  tokenizer encode --model M text.txt | tokenizer decode --model M --keep-special-tokens"""),
    "fill-mask": (FillMask, "the model's entries for each [MASK]; needs the folder's model.onnx", """
  echo '日本の首都は[MASK]である。' | tokenizer fill-mask --model released/character/tiny
  tokenizer fill-mask --model models/character/tiny --top-k 1 --to jsonl masked.txt"""),
}  # fmt: skip


def read_command(arguments: list[str]) -> Any:
    """The options of the command in the arguments."""
    parser = argparse.ArgumentParser(prog="tokenizer", description=DESCRIPTION, formatter_class=HelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="|".join(COMMANDS))
    for name, (kind, text, examples) in COMMANDS.items():
        description = f"{text}\n\nexamples:{examples}"
        command = commands.add_parser(name, help=text, description=description, formatter_class=HelpFormatter)
        add_options(command, kind, os.environ)
    values = parser.parse_args(arguments)
    options: Any = from_namespace(COMMANDS[values.command][0], values, os.environ)
    if not values.model and options.model.startswith("released/"):
        print(f"tokenizer: taking {options.model}, which comes with this project", file=sys.stderr)
    return options


def main(arguments: list[str]) -> None:
    options = read_command(arguments)
    from stages.tokenizer.lines import BadLine, processor, read_lines  # with numpy, which --help does not wait for

    process = processor(options)
    stream = sys.stdout.buffer
    for lines in read_lines(options.files or ["-"]):
        try:
            stream.write(process(lines))
        except BadLine as error:
            stream.write(process(lines._replace(lines=lines.lines[: error.index])))
            raise
        stream.flush()  # The next read may block, and the reader may wait for these lines.


if __name__ == "__main__":
    sys.exit(run("tokenizer", main, resumes=False))
