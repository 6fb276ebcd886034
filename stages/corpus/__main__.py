"""Command line → a corpus: N shards of clean sentences, one a line, a blank line behind each article."""

import argparse
import contextlib
import functools
import os
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from stages import engine, handover, storage
from stages.corpus import documents, sentences, sources, spools
from stages.corpus.articles import Made, Rules
from stages.corpus.documents import Batch
from stages.corpus.files import MOST_SHARDS, InputFile, Shards, read_skip_ids
from stages.handover import Refusal

DESCRIPTION = """
Clean Japanese text, split it into sentences and write them as a corpus.

--dump takes files and folders, http(s) addresses of either, or the word "latest" (the newest complete
dump of Japanese Wikipedia). What a file is, is told by its content, not its name: a CirrusSearch dump
(legacy or newer), JSON lines with "text" and perhaps "title", or plain text with a blank line between
documents; gzip, bzip2 or neither.
"""


@dataclass(frozen=True)
class Options:
    """What decides the bytes of a corpus, besides its input. Lengths of sentences are in characters."""

    shards: int = 640
    min_length: int = 10
    max_length: int = 250
    skip_bad_lines: bool = False


def main(arguments: list[str]) -> None:
    flags = parser().parse_args(arguments)
    options = Options(flags.shards, flags.min_length, flags.max_length, flags.skip_bad_lines)
    if not 1 <= options.shards <= MOST_SHARDS:
        raise Refusal(f"--shards is {options.shards}; it must be from 1 to {MOST_SHARDS}")
    if not 1 <= options.min_length <= options.max_length:
        raise Refusal("--min-length must be at least 1 and not greater than --max-length")
    if flags.jobs < 1:
        raise Refusal(f"--jobs is {flags.jobs}; it must be at least 1")
    skip_ids = read_skip_ids(flags.skip_ids) if flags.skip_ids else frozenset()
    settings = sources.Settings(flags.downloads, flags.retries)
    found = sources.find(flags.dump, flags.mirror, settings)
    out = os.path.realpath(flags.out)
    for dump in filter(os.path.isdir, flags.dump):
        if not storage.remote(flags.out) and os.path.commonpath([out, os.path.realpath(dump)]) == os.path.realpath(
            dump
        ):
            raise Refusal(f"--out {flags.out} lies inside --dump {dump}, which is only read; name another folder")
    files = [InputFile(source.path, source.name) for source in found]
    inputs = {
        "files": [{"name": file.name, "bytes": file.bytes, "kind": file.kind} for file in files],
        "skip_ids": handover.sha256(flags.skip_ids) if flags.skip_ids else None,
    }
    if handover.claim("corpus", flags.out, asdict(options), inputs):
        print(f"corpus: {flags.out} is finished already; nothing to do", file=sys.stderr)
        return
    try:
        make(files, flags.out, options, skip_ids, inputs, flags.jobs, flags.engine)
    except OSError as error:
        raise handover.unwritable(flags.out, error)


def make(
    files: list[InputFile],
    out: str,
    options: Options,
    skip_ids: frozenset[str],
    inputs: dict[str, Any],
    jobs: int,
    engine_name: str,
) -> None:
    """Read the files, write the shards and, last, the manifest."""
    progress = handover.Progress("corpus", "MB read", sum(file.bytes for file in files) / 1e6)
    rules = Rules(options.min_length, options.max_length, options.skip_bad_lines, skip_ids)
    work = functools.partial(spools.work, rules=rules)
    counts: Counter[str] = Counter()
    dropped = {
        "documents": dict.fromkeys(documents.DOCUMENT_REASONS, 0),
        "sentences": dict.fromkeys(sentences.REASONS, 0),
        "lines": dict.fromkeys(documents.LINE_REASONS, 0),
    }
    whole = spools.whole(files, jobs, engine_name)
    with Shards(out, options.shards) as shards:
        todo = items(files, whole, out, progress)
        with contextlib.closing(engine.in_order(work, todo, jobs, engine_name, _place)) as results:
            for made in unspooled(results, files, progress):
                counts.update(made.counts)
                for (what, reason), number in made.dropped.items():
                    dropped[what][reason] += number
                for size, text in made.articles():
                    shards.add(size, text)
        if not shards.articles:
            raise Refusal(
                f"of {counts['documents']} documents no sentence is left: {_told(dropped) or 'nothing to read'}"
            )
        if storage.remote(out):
            print(f"corpus: uploading {options.shards} files to {out}", file=sys.stderr)
        described = shards.finish()
    kept = {what: sum(file[what] for file in described.values()) for what in ("articles", "sentences", "characters")}
    handover.write_manifest(
        "corpus",
        out,
        asdict(options),
        inputs,
        described,
        counts={
            "documents_read": counts["documents"],
            "articles_kept": kept["articles"],
            "sentences_read": counts["sentences"],
            "sentences_kept": kept["sentences"],
            "characters_kept": kept["characters"],
        },
        dropped=dropped,
        inputs_read=[{"name": file.name, "sha256": file.sha256} for file in files],
        versions={"unicode": unicodedata.unidata_version},
    )
    progress.close(f"{kept['articles']:,} articles, {kept['sentences']:,} sentences kept; {_told(dropped)}")


def items(
    files: list[InputFile], whole: list[int], out: str, progress: handover.Progress
) -> Iterator[Batch | spools.WholeFile]:
    """What the workers get: the batches of a file, or all of it where its number is in `whole`."""
    for number, file in enumerate(files):
        if number in whole:
            yield spools.WholeFile(number, file, storage.join(out, spools.name(number)))
        else:
            yield from file.batches(lambda read: progress.add(read / 1e6))


def unspooled(
    results: Iterable[Made | spools.Spooled], files: list[InputFile], progress: handover.Progress
) -> Iterator[Made]:
    """What came of each batch, also of those whose articles lie in spools."""
    for result in results:
        if isinstance(result, Made):
            yield result
        else:
            files[result.number].sha256 = yield from spools.spooled(result.spool)
            progress.add(files[result.number].bytes / 1e6)


def _place(item: Batch | spools.WholeFile) -> str:
    """What an item is called: the file, and the line of a batch."""
    return f"{item.path} from line {item.first} on" if isinstance(item, Batch) else item.file.path


def _told(dropped: dict[str, dict[str, int]]) -> str:
    """`dropped documents: no_text 3; dropped sentences: too_short 12, too_long 1`"""
    parts = []
    for what, reasons in dropped.items():
        told = ", ".join(f"{reason} {number:,}" for reason, number in reasons.items() if number)
        if told:
            parts.append(f"dropped {what}: {told}")
    return "; ".join(parts)


def parser() -> argparse.ArgumentParser:
    defaults = Options()
    made = argparse.ArgumentParser("corpus", description=DESCRIPTION, formatter_class=handover.HelpFormatter)
    made.add_argument("--dump", required=True, nargs="+", help="what to read, in this order")
    made.add_argument("--out", required=True, help="folder for the corpus")
    made.add_argument("--shards", type=int, default=defaults.shards, help="number of corpus files")
    made.add_argument("--min-length", type=int, default=defaults.min_length, help="shortest sentence, in characters")
    made.add_argument("--max-length", type=int, default=defaults.max_length, help="longest sentence, in characters")
    made.add_argument("--skip-ids", metavar="FILE", help="page ids to leave out of a CirrusSearch dump, one a line")
    made.add_argument(
        "--skip-bad-lines", action="store_true", help="count lines that cannot be read in the manifest and go on"
    )
    engine.add_flags(made, handover.cores())
    made.add_argument("--downloads", metavar="DIR", default="data/downloads", help="folder that keeps downloads")
    made.add_argument("--mirror", metavar="URL", default="https://dumps.wikimedia.org", help='server of "latest"')
    made.add_argument("--retries", type=int, default=6, help="failures in a row that a download survives")
    return made


if __name__ == "__main__":
    sys.exit(handover.run("corpus", main))
