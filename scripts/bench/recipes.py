"""Both recipes of `train` for the same minutes, one after the other → held-out losses over wall time: a table, a plot.

The published recipe gets batches of 16 and the best schedule for its minutes: as many steps as they have room for,
the rate of short runs, warm-up and decay to 0. Both read the same TFRecords, mask anew at every step, and are measured
on the yardstick of the efficient recipe: held-out text, 15 % of its tokens masked by whole words, the same draws.
Evaluations do not count as time. Run it on a machine that does nothing else: `--hours` follows from the first seconds.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from matplotlib.figure import Figure

from scripts.bench.plot import save
from scripts.bench.running import ROOT, python
from stages.command.options import HelpFormatter
from stages.command.refusal import Refusal
from stages.command.running import run
from stages.handover.manifests import write_json

MODELS = ("character", "wordpiece_tinysegmenter")
SHORT = 1.5  # minutes
EVERY = 100  # steps of the published recipe from one point of its curve to the next
STYLES = {
    "published": ("#D55E00", "published, batches of 16"),
    "efficient": ("#0072B2", "efficient"),
    "short": ("#56B4E9", f"efficient, {SHORT:g} minutes"),
}
METRICS = {"loss": "masked_lm_loss", "accuracy": "masked_lm_accuracy", "full_length_loss": "full_length_masked_lm_loss"}
# A point: minutes of training, loss and accuracy at length 128, loss in full length.
Curve = list[dict[str, float]]


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser("bench-recipe", description=__doc__, formatter_class=HelpFormatter)
    add = parser.add_argument
    add("--data", default="data", metavar="DIR", help="folder with vocab and tfrecords, as the stages leave them")
    add("--out", default="bench/recipes", metavar="DIR", help="folder for the results; a run that was stopped resumes")
    add("--minutes", type=float, default=20.0, metavar="N", help="of each run")
    add("--models", default=",".join(MODELS), metavar="NAMES", help="some of them, separated by commas")
    add("--size", default="tiny", metavar="SIZE", help="of the models")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> None:
    """Run or resume all runs, then print and draw their results."""
    options = parse(arguments)
    out = Path(options.out)
    results: dict[str, dict[str, Curve]] = {}
    for model in options.models.split(","):
        if not Path(options.data, "tfrecords", model, "manifest.json").exists():
            raise Refusal(f"no TFRecords in {options.data}/tfrecords/{model}; make tfrecords UNMASKED=1 DUPE_FACTOR=1")
        results[model] = curves(options, model, out / model)
    write_json(str(out / "results.json"), {"minutes": options.minutes, "size": options.size, "curves": results})
    print("| model | recipe | minutes | loss, 128 | accuracy | loss, 512 |\n| --- | --- | ---: | ---: | ---: | ---: |")
    figure = Figure(figsize=(5.2 * len(results), 3.8), layout="constrained")
    axes = figure.subplots(1, len(results), squeeze=False, sharey=True)[0]
    for axis, (model, of_model) in zip(axes, results.items(), strict=True):
        for name, curve in of_model.items():
            end, recipe = curve[-1], "published" if name == "published" else "efficient"
            row = "| {} | {} | {minutes:.1f} | {loss:.2f} | {accuracy:.1%} | {full_length_loss:.2f} |"
            print(row.format(model, recipe, **end))
            colour, text = STYLES[name]
            minutes, losses = zip(*((point["minutes"], point["loss"]) for point in curve), strict=True)
            axis.plot(minutes, losses, "o-", markersize=3, color=colour, label=text)
            place = {"xy": (minutes[-1], losses[-1]), "xytext": (4, -3), "textcoords": "offset points"}
            axis.annotate(f"{losses[-1]:.2f}", color=colour, **place)
        axis.set(title=f"{model} {options.size}", xlabel="minutes of training", xlim=(0, options.minutes * 1.1))
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("held-out loss, length 128")
    axes[-1].legend(frameon=False)
    save(figure, out, "recipes")


def curves(options: argparse.Namespace, model: str, out: Path) -> dict[str, Curve]:
    """The curves of a model: of both recipes for all minutes, and of the efficient one for SHORT minutes."""
    records, vocabulary = (f"{options.data}/{path}" for path in (f"tfrecords/{model}", f"vocab/{model}/vocab.txt"))
    data = ["--tfrecords", records, "--config", f"stages/tpu_train/configs/{model}_{options.size}.json"]
    published = ["--batch", 16, "--dynamic-masking", "--vocab", vocabulary]
    # Its own evaluations would take as long as half of the training, and are not used.
    published += ["--save-every", EVERY, "--keep", 10**6, "--eval-steps", 1, "--eval-batch", 8]
    results: dict[str, Curve] = {}
    for name, recipe, flags, minutes in (
        ("published", "published", published, options.minutes),
        ("efficient", "efficient", [], options.minutes),
        ("short", "efficient", [], min(SHORT, options.minutes)),
    ):
        print(f"bench-recipe: {model} {name}, {minutes:g} minutes", file=sys.stderr, flush=True)
        run_python("stages.train", *data, "--recipe", recipe, *flags, "--hours", minutes / 60, "--out", out / name)
        rows = [json.loads(line) for line in (out / name / "metrics.jsonl").read_text().splitlines()]
        rows = [row for row in rows if row["of"] == "held_out"]
        if name == "published":
            measured = json.loads(run_python("scripts.bench.measured", "training.curve", records, out / name))
            rows = [{**measured[str(row["step"])], "seconds": row["seconds"]} for row in rows]
        results[name] = [
            {"minutes": row["seconds"] / 60, **{key: row[metric] for key, metric in METRICS.items()}} for row in rows
        ]
    return results


def run_python(module: str, *arguments: object) -> str:
    """The output of a module in the environment of train. Its progress goes to standard error."""
    process = subprocess.run([python("train"), "-m", module, *map(str, arguments)], cwd=ROOT, stdout=subprocess.PIPE)
    if process.returncode:
        sys.exit(process.returncode)
    return process.stdout.decode()


if __name__ == "__main__":
    sys.exit(run("bench-recipe", main))
