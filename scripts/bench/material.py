"""Real text where the machine has it, else the sample, repeated → the dumps, corpora and lists that are measured.

The stages' real commands make each file at its first use; that time is not measured.
"""

import dataclasses
import gzip
import json
import random
from functools import cached_property
from pathlib import Path

from scripts.bench.running import ROOT, run
from stages.formats.corpus import documents
from stages.handover.manifests import read_manifest

REAL = ROOT.parent / "shared" / "data"
REAL_DUMP = REAL / "jawiki-sample-cirrussearch-content.json.gz"
SAMPLE = ROOT / "scripts" / "sample" / "jasample-cirrussearch-content.json"
SHARDS = 8
# Two for each of two workers: the start of a command then weighs little.
EQUAL = 4
MODELS = ("wordpiece_tinysegmenter", "character")
# Kinds of a subword → models of the service.
NAMES = {"character": "character/tiny", "wordpiece": "wordpiece_tinysegmenter/tiny"}
# Half of the random strings are of any characters, half of those that the segmenter has weights for.
FAMILIAR = [("ぁ", "ん"), ("ァ", "ヶ"), ("一", "龠"), ("!", "~"), ("！", "～"), ("、", "〠")]


@dataclasses.dataclass(frozen=True)
class Size:
    """Amounts to measure, by default those of a full run."""

    name: str = "full"
    characters: int = 18_400_000  # of the articles' text: the real sample, whole
    shard_characters: int = 2_100_000  # of which 2 M are in sentences
    vocabulary_lines: int = 1_000_000
    plain_vocabulary_lines: int = 60_000
    word_parts: int = 6
    random_strings: int = 100_000
    sentences: int = 5_000
    gzip_megabytes: int = 64
    rounds: int = 3  # which alternate the two sides
    # Of the service and its command.
    starts: int = 15
    seconds: float = 4  # of a round of requests
    batches: int = 10
    soak_minutes: float = 10


FULL = Size()
QUICK = Size("quick", 60_000, 10_000, 3_000, 500, 1, 1_000, 200, 4, 1, 1, 0.5, 1, 0.1)


class Material:
    """The text of one run, in the folder `work`, which the caller removes."""

    def __init__(self, work: Path, size: Size) -> None:
        self.work, self.size = work, size
        self.real, self.full = REAL_DUMP.exists(), size.name == "full"

    @cached_property
    def description(self) -> str:
        """The text's name, for every output."""
        if not self.real:
            return f"the sample of scripts/sample, repeated to {self.size.characters:,} characters"
        text = f"real Japanese Wikipedia text ({REAL_DUMP.name})"
        return text if self.full else f"{text}, its first {self.size.characters:,} characters"

    @cached_property
    def dump(self) -> Path:
        """A legacy CirrusSearch dump of `size.characters`."""
        whole = self.real and self.full
        return REAL_DUMP if whole else self._cut("dump.json.gz", self.size.characters, 1)

    @cached_property
    def corpus(self) -> Path:
        """The corpus of the dump."""
        return self._corpus("corpus", self.dump, SHARDS)

    @cached_property
    def equal_shards(self) -> Path:
        """A corpus of EQUAL shards with the same text, each of `size.shard_characters`: workers get equal work."""
        return self._corpus("equal", self._cut("equal.json.gz", self.size.shard_characters, EQUAL), EQUAL)

    @cached_property
    def many_lines(self) -> Path:
        """A corpus of at least `size.vocabulary_lines` sentences: the dump, repeated."""
        copies = -(-self.size.vocabulary_lines // count(self.corpus, "sentences_kept"))
        repeated = self.work / "repeated.json.gz"
        repeated.write_bytes(self.dump.read_bytes() * copies)
        return self._corpus("many-lines", repeated, SHARDS)

    @cached_property
    def vocab(self) -> Path:
        """A folder with both published vocabularies, or those that `vocab` makes from the sample."""
        if self.real:
            return REAL / "vocab"
        out = self.work / "vocab"
        run("vocab", "stages.vocab", "--corpus", self.corpus, "--out", out)
        return out

    @cached_property
    def records(self) -> Path:
        """TFRecords of the character model in EQUAL files, one copy of the dump."""
        corpus, out = self._corpus("corpus-to-read", self.dump, EQUAL), self.work / "records"
        arguments = ("--corpus", corpus, "--vocab", self.vocab, "--model", "character", "--dupe-factor", 1)
        run("tfrecords", "stages.tfrecords", *arguments, "--out", out)
        return out / "character"

    @cached_property
    def record_lengths(self) -> tuple[int, int]:
        """Tokens and masked tokens of an example in `records`."""
        options = read_manifest(str(self.records), "tfrecords")["options"]
        return options["seq_length"], options["max_predictions"]

    @cached_property
    def models(self) -> Path:
        """A folder of both tiny models, with random weights and model.onnx."""
        out = self.work / "models"
        run("convert", "scripts.bench.measured", "served.models", self.vocab, out, one_core=False)
        return out

    @cached_property
    def sentences(self) -> list[str]:
        """Every sentence of the corpus."""
        files = read_manifest(str(self.corpus), "corpus")["files"]
        articles = (article for name, file in files.items() for article in documents(str(self.corpus), name, file))
        return [sentence for article in articles for sentence in article]

    @cached_property
    def spread_sentences(self) -> Path:
        """`size.sentences` sentences from all over the corpus."""
        return self.spread("sentences.json", self.size.sentences)

    @cached_property
    def usual_sentences(self) -> list[str]:
        """64 sentences of 30 to 50 characters from all over the corpus."""
        return random.Random(6).sample([sentence for sentence in self.sentences if 30 <= len(sentence) <= 50], 64)

    @cached_property
    def masked_sentences(self) -> list[str]:
        """32 of them, a character of each replaced by [MASK]."""
        draw = random.Random(6)
        places = [(sentence, draw.randrange(len(sentence))) for sentence in self.usual_sentences[:32]]
        return [f"{sentence[:place]}[MASK]{sentence[place + 1 :]}" for sentence, place in places]

    @cached_property
    def random_strings(self) -> Path:
        """`size.random_strings` strings of up to 30 characters of all planes, without surrogates; always the same."""
        draw = random.Random(12345)
        familiar = [chr(point) for first, last in FAMILIAR for point in range(ord(first), ord(last) + 1)]
        strings = []
        for _ in range(self.size.random_strings):
            length = draw.randrange(31)
            if draw.random() < 0.5:
                strings.append("".join(draw.choices(familiar, k=length)))
            else:
                points = (draw.randrange(0x110000 - 0x800) for _ in range(length))
                strings.append("".join(chr(point + 0x800 * (point >= 0xD800)) for point in points))
        return self.write("random.json", strings)

    def write(self, name: str, value: object) -> Path:
        """A file of text, or of a value as JSON."""
        path = self.work / name
        path.write_text(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), encoding="utf-8")
        return path

    def spread(self, name: str, number: int) -> Path:
        """A file of sentences from all over the corpus."""
        return self.write(name, self.sentences[:: max(1, len(self.sentences) // number)][:number])

    def _corpus(self, name: str, dump: Path, shards: int) -> Path:
        out = self.work / name
        run("corpus", "stages.corpus", "--dump", dump, "--out", out, "--shards", shards)
        return out

    def _cut(self, name: str, characters: int, copies: int) -> Path:
        """The first articles with `characters` of text in all, repeated if necessary, each `copies` times."""
        path = self.work / name
        with gzip.open(path, "wb", compresslevel=6) as dump:
            while characters > 0:
                with gzip.open(REAL_DUMP) if self.real else open(SAMPLE, "rb") as lines:
                    for action, document in zip(lines, lines, strict=True):
                        dump.write((action + document) * copies)
                        characters -= len(json.loads(document)["text"])
                        if characters <= 0:
                            break
        return path


def count(folder: Path, name: str, stage: str = "corpus") -> int:
    """A count of a manifest."""
    return int(read_manifest(str(folder), stage)["counts"][name])
