"""The text → what the command line makes of it on one core, beside the published tokenizer."""

from collections.abc import Iterator

from scripts.bench.rows import Bar
from scripts.bench.running import measure, run
from scripts.bench.serve.material import NAMES, Material, on_core
from scripts.bench.serve.rows import Row
from scripts.bench.table import short

# The published tokenizer takes 1.8 times as long as the words alone that tinysegmenter3 finds for it.
PUBLISHED = 0.55
PACKAGE = "tinysegmenter3"
UNIT = "characters per CPU second"


def command(material: Material) -> Iterator[Row]:
    """`tokenize` of all of the text by both models; `encode` and `decode` of a part of it."""
    lines, words = material.lines, material.text.spread_sentences
    sentences = len(material.text.sentences)
    characters = sum(map(len, material.text.sentences))
    for kind, name in NAMES.items():
        folder = material.models / name
        ours, package, equal = [], [], True
        for _ in range(min(3, material.size.rounds)):
            with on_core(0):
                ran = run("tokenizer", "stages.tokenizer", "tokenize", "--model", folder, lines)
                package.append(measure("tokenizer", "words", "package", words))
            ours.append(ran.cpu)
            equal = equal and ran.output.count("\n") == sentences
        segmented = max(one.amount / one.cpu for one in package)
        yield Row(
            "command",
            f"tokenize, {kind}",
            UNIT,
            characters / min(ours),
            PUBLISHED * segmented,
            "the published tokenizer",
            Bar("≥", 40),
            # A line each; which tokens these are, the tests compare.
            None if equal else False,
            f"{characters:,} characters in {sentences:,} lines, the whole command, best of {len(ours)} rounds; "
            f"yardstick: {PUBLISHED} of the {short(segmented)} that {PACKAGE} does, of {package[0].amount:,}",
            {"cpu_seconds": ours, "peak_memory": ran.peak},
        )
    fewer = material.fewer_lines
    size = len(fewer.read_text(encoding="utf-8").replace("\n", ""))
    for kind, name in NAMES.items():
        folder = material.models / name
        ids = material.work / "ids.txt"
        with on_core(0):
            encoded = run("tokenizer", "stages.tokenizer", "encode", "--model", folder, "--to", "jsonl", fewer)
            told = run("tokenizer", "stages.tokenizer", "encode", "--model", folder, "--to", "text", fewer).output
            ids.write_text(told, encoding="utf-8")
            decoded = run("tokenizer", "stages.tokenizer", "decode", "--model", folder, ids)
        for what, ran in (("encode to JSON lines", encoded), ("decode of ids", decoded)):
            yield Row(
                "command", f"{what}, {kind}", UNIT, size / ran.cpu, note=f"{size:,} characters, the whole command",
                facts={"cpu_seconds": ran.cpu, "peak_memory": ran.peak},
            )  # fmt: skip
