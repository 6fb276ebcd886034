"""The files of the corpus stage: input files, read in batches of documents, the skip list, the corpus files."""

import bz2
import contextlib
import hashlib
import itertools
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator
from typing import Any

from isal import igzip_lib

from stages.command.refusal import Refusal, Retryable
from stages.corpus import documents
from stages.corpus.articles import Articles
from stages.handover import lock, storage
from stages.handover.manifests import RUN
from stages.handover.storage import PARTIAL

# The suffix of files that hold the articles of an input file until the corpus is complete.
SPOOL = ".spool"

_CHUNK = 1 << 18
_BLOCK = 1 << 20
_BUFFERED = 1 << 25
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_GZIP = re.compile(rb"\x1f\x8b\x08")
_BZIP2 = re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)")
# A file that consists of an incomplete header of one of the two.
_CUT_HEADER = re.compile(rb"\x1f\x8b?|BZ?|BZh([1-9](1|1A|1AY|1AY&|1AY&S|\x17|\x17r|\x17rE|\x17rE8|\x17rE8P)?)?")
_OTHER_ARCHIVES = {b"PK\x03\x04": "zip", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"7z\xbc\xaf": "7z"}


class InputFile:
    """A file to read: gzip (also of several members), bzip2 or neither, by its first bytes.

    `name`: its name in messages and the manifest. `kind`: one of those of `documents`, None for a file of blank lines.
    `sha256`: set at the end of `batches`. Raises Refusal for a file that is missing, empty or of another kind.
    """

    def __init__(self, path: str, name: str) -> None:
        self.path, self.name, self.sha256 = path, name, ""
        try:
            with storage.reading(path) as stream:
                head = stream.read(10)
            self.bytes = storage.size(path)
        except OSError as error:
            raise Refusal(f"cannot read {path}: {error.strerror}")
        if not head:
            raise Refusal(f"{path} is empty (0 bytes); fetch it again or remove it")
        if _CUT_HEADER.fullmatch(head):
            end = f"it ends at byte {len(head)}, in the head of an archive"
            raise Refusal(f"{path} is truncated: {end}; fetch it again")
        for magic, program in _OTHER_ARCHIVES.items():
            if head.startswith(magic):
                raise Refusal(f"{path} is a {program} file; unpack it first (gzip and bzip2 are read as they are)")
        self.compression = "gzip" if _GZIP.match(head) else "bzip2" if _BZIP2.match(head) else "none"
        with contextlib.closing(self._batches(documents.JSON_LINES)) as batches:
            text = next(filter(None, (batch.data.lstrip() for batch in batches)), b"")
        self.kind = documents.kind_of(path, text.partition(b"\n")[0]) if text else None

    def batches(self, progress: Callable[[int], None] = lambda size: None) -> Iterator[documents.Batch]:
        """The documents in batches; calls `progress` with numbers of bytes read from disk.

        Raises Refusal, with the place, for damage, for junk after the compressed data, and for a document without end.
        """
        digest = hashlib.sha256()

        def count(chunk: bytes) -> None:
            digest.update(chunk)
            progress(len(chunk))

        yield from self._batches(self.kind or documents.TEXT, count)
        self.sha256 = digest.hexdigest()

    def _batches(
        self, kind: str, count: Callable[[bytes], None] = lambda chunk: None
    ) -> Generator[documents.Batch, None, None]:
        """The unpacked text, without a byte order mark, in batches; calls `count` with the bytes read from disk."""
        blocks = filter(None, self._blocks(count))
        try:
            first = next(blocks, b"").removeprefix(_BYTE_ORDER_MARK)
            yield from documents.batches(self.path, kind, itertools.chain([first], blocks))
        except _Damage as damage:
            # Lines are counted only now, because that takes as long as unpacking.
            lines = 0
            with contextlib.suppress(_Damage):
                for block in self._blocks():
                    lines += block.count(b"\n")
            raise Refusal(f"{self.path} {damage}, after line {lines}; fetch it again")

    def _blocks(self, count: Callable[[bytes], None] = lambda chunk: None) -> Iterator[bytes]:
        """The unpacked bytes. No block is much larger than 1 MiB, at any ratio of compression."""
        new_decompressor = _DECOMPRESSORS.get(self.compression)
        decompressor = new_decompressor() if new_decompressor else None
        member = read = 0
        try:
            with storage.reading(self.path) as stream:
                while chunk := stream.read(_CHUNK):
                    read += len(chunk)
                    count(chunk)
                    if decompressor is None or new_decompressor is None:
                        yield chunk
                        continue
                    while chunk or not (decompressor.eof or decompressor.needs_input):
                        if decompressor.eof:
                            decompressor = new_decompressor()
                            member = read - len(chunk)
                        try:
                            block = decompressor.decompress(chunk, _BLOCK)
                        except (OSError, EOFError, ValueError, igzip_lib.IsalError) as error:  # type: ignore[misc]
                            place = f"in the part from byte {member} on, before byte {read}"
                            raise _Damage(f"has damaged or foreign data {place} ({error})")
                        yield block
                        chunk = decompressor.unused_data
        except OSError as error:
            raise Refusal(f"cannot read {self.path}: {error.strerror}")
        if decompressor is not None and not decompressor.eof:
            raise _Damage(f"is truncated: its {self.compression} data stops at byte {self.bytes} without an end mark")


class _Damage(Exception):
    """The fault of a compressed file. The message continues a sentence that starts with the file's name."""


_DECOMPRESSORS: dict[str, Callable[[], Any]] = {
    "gzip": lambda: igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP),
    "bzip2": bz2.BZ2Decompressor,
}


def read_skip_ids(path: str) -> frozenset[str]:
    """The page ids of a skip list, one a line. Blank lines are ignored."""
    try:
        with storage.reading(path) as stream:
            return frozenset(filter(None, map(str.strip, stream.read().decode().split("\n"))))
    except OSError as error:
        raise Refusal(f"cannot read {path}: {error.strerror}")
    except UnicodeDecodeError as error:
        raise Refusal(f"{path} is not UTF-8 (byte {error.start}); a skip list has one page id a line")


class Shards:
    """The corpus files `corpus_00000.txt` … in a folder. Article i goes to file i mod their number.

    Articles are buffered in memory (32 MiB for all files) and appended to `.<name>.partial`. No file stays open, so any
    number of shards works under any limit of open files. `finish` renames the files. An error before that removes them
    and the claim to the folder, but keeps the spools, from which the same command resumes. Files for Cloud Storage are
    written to the temporary folder and uploaded at the end.
    """

    def __init__(self, folder: str, number: int) -> None:
        self.folder = folder
        self.scratch = tempfile.mkdtemp(prefix="corpus-") if storage.written_once(folder) else folder
        self.articles = 0
        self.shards = [Shard(f"corpus_{shard:05d}.txt") for shard in range(number)]
        self._buffered = 0
        self._renaming = False

    def __enter__(self) -> "Shards":
        return self

    def add(self, articles: Articles) -> None:
        """Add each article of a batch to its file."""
        sizes = iter(articles.sizes)
        end = 0
        for size, sentences, characters in zip(sizes, sizes, sizes, strict=True):
            start, end = end, end + size
            shard = self.shards[self.articles % len(self.shards)]
            self.articles += 1
            shard.counts["articles"] += 1
            shard.counts["sentences"] += sentences
            shard.counts["characters"] += characters
            shard.counts["bytes"] += size
            shard.texts.append(articles.text[start:end])
            self._buffered += size
            if self._buffered >= _BUFFERED:
                self._flush(last=False)

    def finish(self) -> dict[str, dict[str, Any]]:
        """Rename the files. Returns articles, sentences, characters, bytes and sha256 of each."""
        self._flush(last=True)
        self._renaming = True
        storage.put_all([(self._partial(shard), storage.join(self.folder, shard.name)) for shard in self.shards])
        storage.remove_all(self.folder, self._hidden(SPOOL))
        return {shard.name: {**shard.counts, "sha256": shard.digest.hexdigest()} for shard in self.shards}

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is not None and not self._renaming:
            resumes = not isinstance(error, Refusal) or isinstance(error, Retryable)
            with contextlib.suppress(OSError, Refusal):
                storage.remove_all(self.folder, self._hidden(PARTIAL if resumes else (PARTIAL, SPOOL)))
                if not self._hidden(SPOOL):
                    storage.remove(storage.join(self.folder, RUN))
            lock.release(self.folder)
        if self.scratch != self.folder:
            shutil.rmtree(self.scratch, ignore_errors=True)

    def _hidden(self, suffixes: str | tuple[str, ...]) -> list[str]:
        return [name for name in storage.names(self.folder) if name.startswith(".") and name.endswith(suffixes)]

    def _flush(self, last: bool) -> None:
        for shard in self.shards:
            if shard.texts or last:
                data = b"".join(shard.texts)
                shard.texts.clear()
                shard.digest.update(data)
                with open(self._partial(shard), "ab") as stream:
                    stream.write(data)
                    if last:
                        stream.flush()
                        os.fsync(stream.fileno())
        self._buffered = 0

    def _partial(self, shard: "Shard") -> str:
        return os.path.join(self.scratch, f".{shard.name}{PARTIAL}")


class Shard:
    """A corpus file: its counts, the hash of what is written, and the articles that are not written yet."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.counts = {"articles": 0, "sentences": 0, "characters": 0, "bytes": 0}
        self.digest = hashlib.sha256()
        self.texts: list[bytes] = []
