"""
Clean Japanese text, split it into sentences and write them as a corpus.

--dump takes files and folders, http(s) addresses of either, or "latest" (the newest complete dump of
Japanese Wikipedia). The content of a file decides its kind, not its name: a CirrusSearch dump (legacy or
newer), JSON lines with "text" and optionally "title", WikiExtractor's output, or plain text with a blank
line between documents; gzip, bzip2 or neither.
"""

import contextlib
import functools
import os
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from stages.command.options import decisive, parse
from stages.command.progress import Progress
from stages.command.refusal import Refusal, unwritable
from stages.command.running import run
from stages.corpus import articles, documents, sources, spools
from stages.corpus.articles import Articles
from stages.corpus.documents import Batch
from stages.corpus.files import InputFile, Shards, read_skip_ids
from stages.corpus.options import Options
from stages.engine.ordered import in_order
from stages.handover import storage
from stages.handover.manifests import claim, write_manifest


def main(arguments: list[str]) -> None:
    options = parse(Options, "corpus", __doc__, arguments)
    skip_ids = read_skip_ids(options.skip_ids) if options.skip_ids else frozenset()
    found = sources.find(options.dump, options.mirror, sources.Settings(options.downloads, options.retries))
    out = os.path.realpath(options.out)
    for dump in filter(os.path.isdir, options.dump):
        folder = os.path.realpath(dump)
        if not storage.remote(options.out) and os.path.commonpath([out, folder]) == folder:
            raise Refusal(f"--out {options.out} lies inside --dump {dump}, which is only read; name another folder")
    files = [InputFile(source.path, source.name) for source in found]
    inputs = {
        "files": [{"name": file.name, "bytes": file.bytes, "kind": file.kind} for file in files],
        "skip_ids": storage.sha256(options.skip_ids) if options.skip_ids else None,
    }
    if claim("corpus", options.out, decisive(options), inputs):
        print(f"corpus: {options.out} is finished already; nothing to do", file=sys.stderr)
        return
    try:
        write_corpus(files, options, skip_ids, inputs)
    except OSError as error:
        raise unwritable(options.out, error)


def write_corpus(files: list[InputFile], options: Options, skip_ids: frozenset[str], inputs: dict[str, Any]) -> None:
    """Read the files, write the shards, then the manifest."""
    progress = Progress("corpus", "MB read", sum(file.bytes for file in files) / 1e6)
    whole = spools.whole_files(files, options)

    def items() -> Iterator[Batch | spools.WholeFile]:
        """The batches of each file, or the whole file."""
        for number, file in enumerate(files):
            if number in whole:
                yield whole[number]
            else:
                yield from file.batches(lambda size: progress.add(size / 1e6))

    counts: Counter[str] = Counter()
    dropped = {
        "documents": dict.fromkeys(documents.DOCUMENT_REASONS, 0),
        "sentences": dict.fromkeys(articles.REASONS, 0),
        "lines": dict.fromkeys(documents.LINE_REASONS, 0),
    }
    work = functools.partial(spools.work, options=options, skip_ids=skip_ids)
    with Shards(options.out, options.shards) as shards:
        with contextlib.closing(in_order(work, items(), options.jobs, options.engine, _label)) as results:
            for batch in _read_spools(results, files, progress):
                counts.update(batch.counts)
                for (kind, reason), number in batch.dropped.items():
                    dropped[kind][reason] += number
                shards.add(batch)
        if not shards.articles:
            reason = _summary(dropped) or "nothing to read"
            raise Refusal(f"of {counts['documents']} documents no sentence is left: {reason}")
        if storage.remote(options.out):
            print(f"corpus: uploading {options.shards} files to {options.out}", file=sys.stderr)
        outputs = shards.finish()
    kept = {unit: sum(file[unit] for file in outputs.values()) for unit in ("articles", "sentences", "characters")}
    write_manifest(
        "corpus", options.out, decisive(options), inputs, outputs,
        counts={
            **{f"{unit}_read": counts[unit] for unit in ("documents", "sentences")},
            **{f"{unit}_kept": number for unit, number in kept.items()},
        },
        dropped=dropped,
        inputs_read=[{"name": file.name, "sha256": file.sha256} for file in files],
        versions={"unicode": unicodedata.unidata_version},
    )  # fmt: skip
    progress.close(f"{kept['articles']:,} articles, {kept['sentences']:,} sentences kept; {_summary(dropped)}")


def _read_spools(
    results: Iterable[Articles | spools.WholeFile], files: list[InputFile], progress: Progress
) -> Iterator[Articles]:
    """The articles of each batch, read from the spools of whole files."""
    for result in results:
        if isinstance(result, Articles):
            yield result
        else:
            file = files[result.number]
            file.sha256 = yield from spools.read(result.spool)
            progress.add(file.bytes / 1e6)


def _label(item: Batch | spools.WholeFile) -> str:
    """An item for messages: the file, and the first line of a batch."""
    return f"{item.path} from line {item.first} on" if isinstance(item, Batch) else item.file.path


def _summary(dropped: dict[str, dict[str, int]]) -> str:
    """`dropped documents: no_text 3; dropped sentences: too_short 12, too_long 1`"""
    parts = []
    for kind, reasons in dropped.items():
        numbers = ", ".join(f"{reason} {number:,}" for reason, number in reasons.items() if number)
        if numbers:
            parts.append(f"dropped {kind}: {numbers}")
    return "; ".join(parts)


if __name__ == "__main__":
    sys.exit(run("corpus", main))
