"""`tokenizer tokenize|encode|decode|fill-mask`: lines in → one line each out."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import Any

from stages.command.options import HelpFormatter, add_options, made
from stages.command.refusal import Refusal
from stages.command.running import run
from stages.tokenizer.options import Decode, Encode, FillMask, Tokenize

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
}
COMMANDS = {
    "tokenize": (Tokenize, "tokens, joined by spaces"),
    "encode": (Encode, "JSON lines: input_ids, tokens, offsets in the text, word_ids"),
    "decode": (Decode, "ids → text"),
    "fill-mask": (FillMask, "what the model would put for each [MASK]; needs the folder's model.onnx"),
}


def read_command(arguments: list[str]) -> Any:
    """The options of the command that the arguments name."""
    parser = argparse.ArgumentParser(prog="tokenizer", description=DESCRIPTION, formatter_class=HelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="|".join(COMMANDS))
    for name, (kind, text) in COMMANDS.items():
        shown = f"{text}\n\nexamples:{EXAMPLES[name]}"
        added = commands.add_parser(name, help=text, description=shown, formatter_class=HelpFormatter)
        add_options(added, kind, os.environ)
    given = parser.parse_args(arguments)
    options: Any = made(COMMANDS[given.command][0], given, os.environ)
    if not given.model and options.model.startswith("released/"):
        print(f"tokenizer: taking {options.model}, which comes with this project", file=sys.stderr)
    return options


def _answer(options: Any) -> Callable[..., bytes]:
    """Lines and where they stand → the output."""
    from stages.tokenizer import output_lines as out
    from stages.words.encoding import Options
    from stages.words.reading import located, read_tokenizer

    framing = Options(not options.no_special_tokens, options.max_length) if isinstance(options, Encode) else Options()
    if framing.max_length is not None and framing.max_length < framing.least:
        raise Refusal(
            f"--max-length is {framing.max_length}; it must be {framing.least} or more to leave room for text"
        )
    folder = located(options.model)
    tokenizer = read_tokenizer(folder)
    if isinstance(options, Decode):
        return lambda lines, where: out.decoded(tokenizer, lines, where, options.to, not options.keep_special_tokens)

    def texts(lines: Any, where: Any) -> Any:
        return out.read_texts(lines, where, options.form)

    if isinstance(options, Encode):
        return lambda lines, where: out.encoded(tokenizer, texts(lines, where), options.to, framing)
    if isinstance(options, FillMask):
        from stages.words.filling import MaskedLanguageModel

        model = MaskedLanguageModel(folder, tokenizer, options.threads)
        return lambda lines, where: out.filled(model, texts(lines, where), options.to, options.top_k)
    return lambda lines, where: out.tokenized(tokenizer, texts(lines, where), options.to)


def main(given: list[str]) -> None:
    options = read_command(given)
    from stages.tokenizer.lines import BadLine, read_lines

    answer = _answer(options)
    out = sys.stdout.buffer
    for where, lines in read_lines(options.files or ["-"]):
        try:
            out.write(answer(lines, where))
        except BadLine as bad:
            out.write(answer(lines[: bad.number], where))
            raise
        # The next read may wait for a person who waits for these lines.
        out.flush()


if __name__ == "__main__":
    sys.exit(run("tokenizer", main, resumes=False))
