"""A run of tpu-train and one of train, on the same data → both held-out losses over wall time, in one picture.

`python -m scripts.bench.curves TPU_TRAIN_OUT TRAIN_OUT curves.svg`: two folders as the trainers leave them, with the
times of their files.
"""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt

Curve = list[tuple[float, float]]


def tensorflow(folder: Path) -> Curve:
    """Minutes since the run's start, when it wrote its configuration, and held-out masked LM losses."""
    start = (folder / "albert_config.json").stat().st_mtime
    rows = [json.loads(line) for line in (folder / "eval_results.jsonl").read_text().splitlines()]
    written = {row["step"]: folder / f"model.ckpt-{row['step']}.index" for row in rows}
    return [
        ((written[row["step"]].stat().st_mtime - start) / 60, row["masked_lm_loss"])
        for row in rows
        if written[row["step"]].exists()
    ]


def pytorch(folder: Path) -> Curve:
    """The same, as its metrics.jsonl has them."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [(row["seconds"] / 60, row["masked_lm_loss"]) for row in rows if row["of"] == "held_out"]


def main(tpu_train: str, train: str, out: str) -> None:
    figure, axis = plt.subplots(figsize=(7, 4), layout="constrained")
    for name, curve, colour in (
        ("tpu-train (TensorFlow 1.15)", tensorflow(Path(tpu_train)), "#D55E00"),
        ("train (PyTorch)", pytorch(Path(train)), "#0072B2"),
    ):
        axis.plot(*zip(*curve, strict=True), "o-", color=colour, label=name)
        axis.annotate(f"{curve[-1][1]:.2f}", curve[-1], xytext=(6, -3), textcoords="offset points", color=colour)
    axis.set(xlabel="minutes of wall time", ylabel="held-out masked LM loss", xlim=(0, 20))
    axis.grid(alpha=0.3)
    axis.legend(frameon=False)
    figure.savefig(out, dpi=150)


if __name__ == "__main__":
    main(*sys.argv[1:])
