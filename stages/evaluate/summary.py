"""The report → its chief measures, a table for a terminal, formatted figures."""

from typing import Any

BASELINES = {"unigram": "unigrams", "neighbours": "neighbours"}


def number(value: float | None, signed: bool = False) -> str:
    """At least three significant digits from 0.1 on: 0.123, 4.56, 123.5, 1,235."""
    if value is None:
        return "–"
    size = abs(value)
    digits = 0 if size >= 1000 else 1 if size >= 100 else 2 if size >= 1 else 3
    return format(value, f"{'+' * signed},.{digits}f").replace("-", "−")


def percent(value: float | None, signed: bool = False) -> str:
    """`0.1234` → `12.3 %`."""
    return "–" if value is None else format(100 * value, f"{'+' * signed}.1f").replace("-", "−") + " %"


def interval(estimate: dict[str, Any], form: Any = number, **options: Any) -> str:
    """`12.3 % to 14.5 %`; "" without an interval."""
    if estimate["low"] is None or estimate["high"] is None:
        return ""
    return f"{form(estimate['low'], **options)} to {form(estimate['high'], **options)}"


def rows(report: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """The chief measures: name, system → estimate, and the function that formats it."""
    masked, order, pseudo = report["masked_lm"][0], report["sentence_order"], report["pseudo_perplexity"]
    windows = report["masked_windows"]
    cloze = {name: scores[0] for name, scores in report["cloze"].items()}
    masks = f"{windows['masked_share']:.0%} of {windows['tokens']} tokens masked"
    measures = [
        ("masked LM accuracy", masked, "accuracy", percent),
        ("right one among the five best", masked, "top_5_accuracy", percent),
        ("masked LM loss (nats)", masked, "loss", number),
        (f"accuracy, {masks}", windows, "accuracy", percent),
        (f"loss, {masks}", windows, "loss", number),
        ("pseudo-perplexity", pseudo, "pseudo_perplexity", number),
        ("bits a character", pseudo, "bits_per_character", number),
        ("sentence order accuracy", order, "accuracy", percent),
        ("sentence order loss (nats)", order, "loss", number),
        ("cloze: right one first", cloze, "first", percent),
        ("cloze: right one among the five", cloze, "among_five", percent),
    ]
    systems = ("model", *BASELINES, "other")
    return [
        (title, {name: section[name][measure] for name in systems if name in section}, form)
        for title, section, measure, form in measures
    ]


def summary(report: dict[str, Any]) -> str:
    """A table: each measure with its interval, beside the baselines and the other model, if there is one."""
    beside = {**BASELINES, "other": "other model"} if "other" in report else BASELINES
    table: list[tuple[str, ...]] = [("", "model", "95 % interval", *beside.values())]
    for title, estimates, form in rows(report):
        figures = [form(estimates[name]["value"]) if name in estimates else "" for name in beside]
        table.append((title, form(estimates["model"]["value"]), interval(estimates["model"], form), *figures))
    error = report["calibration"]["each_of_five"]["expected_calibration_error"]
    table.append(("calibration error of the five best", percent(error), "", *[""] * len(beside)))
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
