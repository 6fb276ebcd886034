"""The report → a table for a terminal."""

from typing import Any

from stages.evaluate.figures import interval, number, percent

BASELINES = {"unigram": "unigrams", "neighbours": "neighbours"}
HEAD = ("", "model", "95 % interval", *BASELINES.values(), "other model")


def rows(report: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """The chief measures: name, system → estimate, and the function that formats it."""
    masked, order, pseudo = report["masked_lm"][0], report["sentence_order"], report["pseudo_perplexity"]
    windows = report["masked_windows"]
    cloze = {name: scores[0] for name, scores in report["cloze"].items()}
    masks = f"{windows['masked_share']:.0%} of {windows['tokens']} tokens masked"
    systems = ("model", *BASELINES, "other")

    def estimates(section: dict[str, Any], measure: str) -> dict[str, Any]:
        return {name: section[name][measure] for name in systems if name in section}

    return [
        ("masked LM accuracy", estimates(masked, "accuracy"), percent),
        ("right one among the five best", estimates(masked, "top_5_accuracy"), percent),
        ("masked LM loss (nats)", estimates(masked, "loss"), number),
        (f"accuracy, {masks}", estimates(windows, "accuracy"), percent),
        (f"loss, {masks}", estimates(windows, "loss"), number),
        ("pseudo-perplexity", estimates(pseudo, "pseudo_perplexity"), number),
        ("bits a character", estimates(pseudo, "bits_per_character"), number),
        ("sentence order accuracy", estimates(order, "accuracy"), percent),
        ("sentence order loss (nats)", estimates(order, "loss"), number),
        ("cloze: right one first", estimates(cloze, "first"), percent),
        ("cloze: right one among the five", estimates(cloze, "among_five"), percent),
    ]


def summary(report: dict[str, Any]) -> str:
    """A table: each measure with its interval, beside the baselines and the other model, if there is one."""
    table: list[tuple[str, ...]] = [HEAD if "other" in report else HEAD[:-1]]
    for name, estimates, form in rows(report):
        cells = [name, form(estimates["model"]["value"]), interval(estimates["model"], form)]
        cells += [form(estimates[other]["value"]) if other in estimates else "" for other in (*BASELINES, "other")]
        table.append(tuple(cells[: len(table[0])]))
    error = report["calibration"]["each_of_five"]["expected_calibration_error"]
    table.append(("calibration error of the five best", percent(error), *[""] * (len(table[0]) - 2)))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in table]
    data = report["data"]
    kinds = [f"{row['kind']} {row['first']['count']} of {row['sentences']}" for row in report["cloze"]["model"][1:]]
    lines.append(f"cloze sentences by kind, right one first: {', '.join(kinds)}")
    lines.append(
        f"{report['masked_lm'][0]['masked_tokens']:,} masked tokens of {data['examples']:,} held-out examples; "
        f"{report['pseudo_perplexity']['model']['tokens']:,} tokens of {data['sentences']:,} held-out sentences"
    )
    return "\n".join(lines)
