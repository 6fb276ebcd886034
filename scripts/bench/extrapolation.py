"""The rows of one run → hours for the whole of Japanese Wikipedia on 8 cores, with every assumption."""

from typing import Any

from scripts.bench.rows import Row
from stages.command.progress import duration

CORES = 8
# The corpus of tohoku-nlp/bert-base-japanese-v3 (its model card): CirrusSearch dump of 2023-01-02, 34 M sentences.
# The published ALBERT models were trained on the dump of 2023-04-24.
WIKIPEDIA_BYTES = 4.9e9
VOCABULARY_LINES = 3_000_000
PUBLISHED_HOURS = 72


def extrapolate(rows: list[Row]) -> dict[str, Any] | None:
    """`stages`: seconds of each stage, ours and the yardstick's; `assumptions`; None without the rows it needs."""
    by_name = {row.name: row for row in rows}
    corpus, examples = by_name.get("clean sentences of a dump"), by_name.get("examples written")
    if not (corpus and corpus.ours and corpus.yardstick and examples and examples.ours and examples.yardstick):
        return None
    two = by_name.get("two workers")
    vocab = next((row for row in rows if row.group == "vocab"), None)
    efficiency = min(1.0, two.ratio / 2) if two and two.ratio else 1.0
    characters = WIKIPEDIA_BYTES / corpus.facts["bytes_per_character"]
    count = characters * examples.facts["examples_per_character"]
    gigabytes = count * examples.facts["bytes_per_example"] / 1e9
    seconds = count / examples.ours.value / CORES / efficiency
    stages = {
        "corpus": {"ours": characters / corpus.ours.value, "yardstick": characters / corpus.yardstick.value},
        "tfrecords": {"ours": seconds, "yardstick": count / examples.yardstick.value / CORES},
    }
    assumptions = [
        f"Wikipedia: {characters / 1e9:.2f} G characters kept (4.9 GB of sentences, the corpus of "
        f"tohoku-nlp/bert-base-japanese-v3 by its model card, dump of 2023-01-02; "
        f"{corpus.facts['bytes_per_character']:.2f} bytes a character here). Later dumps are larger.",
        f"{CORES} cores like the ones measured, each {efficiency:.0%} as fast as one alone (two workers against one "
        f"here); text like the text measured: {examples.facts['examples_per_character']:.4f} examples a character.",
        f"TFRecords of both models: {count / 1e6:.0f} M examples, {gigabytes:.0f} GB on disk; to keep up it must write "
        f"{gigabytes * 1e3 / seconds:.0f} MB/s.",
        "corpus: one job, as the yardstick; more share the cleaning, but one process unpacks the legacy dump and "
        "writes. A newer dump is bzip2, which unpacks some 17 MB/s a core.",
        f"tfrecords: the yardstick is the published script in {CORES} processes, at 9e-4 examples for each character "
        f"that tinysegmenter3 segments here; its README says 3 days ({PUBLISHED_HOURS} h, its author's workstation).",
    ]
    if vocab and vocab.ours and vocab.yardstick:
        times = VOCABULARY_LINES / vocab.facts["lines"]
        stages["vocab"] = {"ours": vocab.ours.value * times, "yardstick": vocab.yardstick.value * times}
        assumptions.append(
            "vocab: 3,000,000 sampled lines at the rate measured here, on this machine's cores, not 8; reading all "
            "shards to draw the lines is not counted."
        )
    return {"cores": CORES, "characters": characters, "examples": count, "gigabytes": gigabytes, "stages": stages,
            "assumptions": assumptions}  # fmt: skip


def lines(extrapolation: dict[str, Any] | None) -> list[str]:
    """The block of text below the table."""
    if extrapolation is None:
        return []
    text = ["", f"The whole of Japanese Wikipedia on {extrapolation['cores']} cores, from the figures above:"]
    for stage, seconds in extrapolation["stages"].items():
        text.append(f"  {stage:9} {duration(seconds['ours']):>10}   yardstick {duration(seconds['yardstick']):>11}")
    return [*text, "Assumed:", *(f"  - {assumption}" for assumption in extrapolation["assumptions"])]
