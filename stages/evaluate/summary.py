"""The numbers of an evaluation → a few lines for a terminal."""

from typing import Any

from stages.evaluate.figures import interval, number, percent

BASELINES = {"unigram": "unigrams", "neighbours": "neighbours"}
HEAD = ("", "model", "95 % interval", *BASELINES.values(), "other model")


def rows(found: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """The chief measures: name, the estimate of each system by its name, and how it is written."""
    masked, order, pseudo = found["masked_lm"][0], found["sentence_order"], found["pseudo_perplexity"]
    windows = found["masked_windows"]
    cloze = {name: found["cloze"][name][0] for name in found["cloze"]}
    masks = f"{windows['masked_share']:.0%} of {windows['tokens']} tokens masked"
    systems = ("model", *BASELINES, "other")

    def of(section: dict[str, Any], measure: str) -> dict[str, Any]:
        return {name: section[name][measure] for name in systems if name in section}

    return [
        ("masked LM accuracy", of(masked, "accuracy"), percent),
        ("right one among the five best", of(masked, "top_5_accuracy"), percent),
        ("masked LM loss (nats)", of(masked, "loss"), number),
        (f"accuracy, {masks}", of(windows, "accuracy"), percent),
        (f"loss, {masks}", of(windows, "loss"), number),
        ("pseudo-perplexity", of(pseudo, "pseudo_perplexity"), number),
        ("bits a character", of(pseudo, "bits_per_character"), number),
        ("sentence order accuracy", of(order, "accuracy"), percent),
        ("sentence order loss (nats)", of(order, "loss"), number),
        ("cloze: right one first", {name: row["first"] for name, row in cloze.items()}, percent),
        ("cloze: right one among the five", {name: row["among_five"] for name, row in cloze.items()}, percent),
    ]


def summary(found: dict[str, Any]) -> str:
    """A table: each measure with its interval, beside the baselines and, if there is one, the other model."""
    table: list[tuple[str, ...]] = [HEAD if "other" in found else HEAD[:-1]]
    for name, estimates, form in rows(found):
        cells = [name, form(estimates["model"]["value"]), interval(estimates["model"], form)]
        cells += [form(estimates[other]["value"]) if other in estimates else "" for other in (*BASELINES, "other")]
        table.append(tuple(cells[: len(table[0])]))
    error = found["calibration"]["each_of_five"]["expected_calibration_error"]
    table.append(("calibration error of the five best", percent(error), *[""] * (len(table[0]) - 2)))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in table]
    data = found["data"]
    kinds = [f"{row['kind']} {row['first']['count']} of {row['sentences']}" for row in found["cloze"]["model"][1:]]
    lines.append(f"cloze sentences by kind, right one first: {', '.join(kinds)}")
    lines.append(
        f"{found['masked_lm'][0]['masked_tokens']:,} masked tokens of {data['examples']:,} held-out examples; "
        f"{found['pseudo_perplexity']['model']['tokens']:,} tokens of {data['sentences']:,} held-out sentences"
    )
    return "\n".join(lines)
