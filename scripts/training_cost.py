"""The seven configurations → how long training one takes, what it costs: the README's table, computed, not measured.

Floating point operations of the published run, 1,000,000 steps of 512 examples of 512 tokens, by what a machine
computes in bfloat16 at an assumed share of its peak. Needs nothing but Python 3.9.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import NamedTuple

CONFIGS = Path(__file__).resolve().parent.parent / "stages" / "tpu_train" / "configs"
STEPS, BATCH, LENGTH, PREDICTIONS = 1_000_000, 512, 512, 20
# Of the peak: what well-tuned programs of this size reach. Eight GPUs lose some of it to each other.
UTILISATION, TOGETHER = 0.35, 0.9
DAY = 24 * 3600


class Machine(NamedTuple):
    """Operations a second, dense bfloat16, by its maker; dollars an hour, assumed: clouds differ threefold."""

    name: str
    peak: float
    dollars: float
    share: float = UTILISATION


# 989 TFLOP/s a GPU (H100 SXM), 197 TFLOP/s a chip (v5e).
MACHINES = (
    Machine("one H100", 989e12, 3.0),
    Machine("eight H100", 8 * 989e12, 8 * 3.0, UTILISATION * TOGETHER),
    Machine("TPU v5e-8", 8 * 197e12, 8 * 1.2),
)


def operations_a_step(config: dict[str, int]) -> float:
    """Multiplications and additions of a step, forward and backward (twice the forward pass).

    Of a layer: queries, keys, values and output (4 h²), the feed-forward part (2 h i), and attention (2 L h), each
    multiplied and added; sharing parameters saves none of it. The masked LM head is on the masked positions alone.
    """
    hidden, embedding = config["hidden_size"], config["embedding_size"]
    layer = 4 * hidden**2 + 2 * hidden * config["intermediate_size"] + 2 * LENGTH * hidden
    token = config["num_hidden_layers"] * layer + embedding * hidden
    head = PREDICTIONS * (hidden * embedding + embedding * config["vocab_size"]) + hidden**2
    return 3 * 2 * BATCH * (LENGTH * token + head)


def table() -> str:
    """Rows of Markdown: a model each."""
    heads = " | ".join(machine.name for machine in MACHINES)
    lines = [f"| model | operations a step | {heads} |", "| --- | --- |" + " --- |" * len(MACHINES)]
    for path in sorted(CONFIGS.glob("*.json"), key=lambda path: -operations_a_step(json.loads(path.read_text()))):
        operations = operations_a_step(json.loads(path.read_text()))
        model, _, size = path.stem.rpartition("_")
        cells = []
        for machine in MACHINES:
            seconds = STEPS * operations / (machine.peak * machine.share)
            days = f"{seconds / DAY:.1f} days" if seconds > DAY else f"{seconds / 3600:.0f} h"
            cells.append(f"{days}, ${seconds / 3600 * machine.dollars:,.0f}")
        lines.append(f"| `{model.partition('_')[0]}` `{size}` | {operations / 1e12:.0f} T | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(table())
