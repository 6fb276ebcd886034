"""A run of tpu-train and one of train, on the same data → both held-out losses over wall time, in one picture.

`python -m scripts.bench.curves TPU_TRAIN_OUT TRAIN_OUT curves.svg`: two folders as the trainers leave them, with the
times of their files.
"""

import json
import sys
from pathlib import Path

from matplotlib.figure import Figure

from scripts.bench.plot import draw_curve

Curve = list[tuple[float, float]]


def tensorflow(folder: Path) -> Curve:
    """Minutes since the run wrote its configuration, and held-out masked LM losses."""
    start = (folder / "albert_config.json").stat().st_mtime
    rows = [json.loads(line) for line in (folder / "eval_results.jsonl").read_text().splitlines()]
    checkpoints = [(folder / f"model.ckpt-{row['step']}.index", row["masked_lm_loss"]) for row in rows]
    return [((path.stat().st_mtime - start) / 60, loss) for path, loss in checkpoints if path.exists()]


def pytorch(folder: Path) -> Curve:
    """Minutes and losses of its metrics.jsonl."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [(row["seconds"] / 60, row["masked_lm_loss"]) for row in rows if row["of"] == "held_out"]


def main(tpu_train: str, train: str, out: str) -> None:
    figure = Figure(figsize=(7, 4), layout="constrained")
    axis = figure.subplots()
    draw_curve(axis, tensorflow(Path(tpu_train)), "tpu-train (TensorFlow 1.15)", "#D55E00", 6, 6)
    draw_curve(axis, pytorch(Path(train)), "train (PyTorch)", "#0072B2", 6, 6)
    axis.set(xlabel="minutes of wall time", ylabel="held-out masked LM loss", xlim=(0, 20))
    axis.grid(alpha=0.3)
    axis.legend(frameon=False)
    figure.savefig(out, dpi=150)


if __name__ == "__main__":
    main(*sys.argv[1:])
