"""The numbers of an evaluation → one HTML page that needs nothing else: no script, font or picture from elsewhere."""

from html import escape
from typing import Any

from stages.evaluate.calibration_plot import RULES, TITLES, calibration_plot
from stages.evaluate.figures import interval, number, percent
from stages.evaluate.page_style import STYLE
from stages.evaluate.summary import BASELINES, rows

# A token that costs this many nats is of the deepest colour: P = 1/3000.
_DEAREST = 8.0
_PARTS = {
    "kind": "by kind of token",
    "treatment": "by what stands in its place",
    "piece": "by place in the word",
}


def page(found: dict[str, Any]) -> str:
    """The report. All text from outside is escaped."""
    model = found["model"]
    title = f"Evaluation of {escape(model['name'])}"
    sections = [
        _head(found),
        _figures(found),
        _gaps(found),
        _costs(found["token_losses"]),
        _parts(found),
        _calibration(found["calibration"]),
        _terms(found),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8"/>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>\n'
        f"<title>{title}</title>\n<style>{STYLE}{RULES}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(sections)
        + "\n</main>\n</body>\n</html>\n"
    )


def _about(model: dict[str, Any]) -> str:
    return (
        f"{model['parameters'] / 1e6:,.1f} million parameters, {model['layers']} layers of {model['hidden']}, "
        f"{model['entries']:,} entries ({escape(model['subwords'])})"
    )


def _head(found: dict[str, Any]) -> str:
    masked, order, data = found["masked_lm"][0], found["sentence_order"], found["data"]
    pseudo, cloze = found["pseudo_perplexity"], found["cloze"]["model"][0]
    error = found["calibration"]["each_of_five"]["expected_calibration_error"]

    def card(name: str, value: str, *beside: str) -> str:
        more = "".join(f'<span class="small">{line}</span>' for line in beside if line)
        return f"<li><span>{name}</span><b>{value}</b>{more}</li>"

    accuracy, five, loss = (masked["model"][name] for name in ("accuracy", "top_5_accuracy", "loss"))

    def baselines(section: dict[str, Any], measure: str, form: Any) -> list[str]:
        return [f"{title} {form(section[name][measure]['value'])}" for name, title in BASELINES.items()]

    swapped = order["swapped"]["value"]
    perplexity = pseudo["model"]["pseudo_perplexity"]
    cards = [
        card("masked tokens right", percent(accuracy["value"]), interval(accuracy, percent),
             *baselines(masked, "accuracy", percent)),
        card("among its five best", percent(five["value"]), interval(five, percent),
             *baselines(masked, "top_5_accuracy", percent)),
        card("masked LM loss", number(loss["value"]), interval(loss), *baselines(masked, "loss", number)),
        card("pseudo-perplexity", number(perplexity["value"]), interval(perplexity),
             *baselines(pseudo, "pseudo_perplexity", number)),
        card("sentence order right", percent(order["model"]["accuracy"]["value"]),
             interval(order["model"]["accuracy"], percent), f"always one answer {percent(max(swapped, 1 - swapped))}"),
        card("cloze sentences right", f"{cloze['first']['count']} of {cloze['sentences']}",
             f"among five {cloze['among_five']['count']}"),
        card("calibration error", percent(error), "of each of the five best"),
    ]  # fmt: skip
    other = found.get("other")
    beside = f"<p>Beside it: {escape(other['name'])}, {_about(other)}.</p>" if other else ""
    return (
        f'<header><h1>{escape(found["model"]["name"])}</h1>\n<p class="lead">{_about(found["model"])}. Measured on '
        f"{masked['masked_tokens']:,} masked tokens of {data['examples']:,} examples, and on {data['sentences']:,} "
        f"sentences, that it was not trained on.</p>{beside}</header>\n"
        f'<ul class="cards">{"".join(cards)}</ul>'
    )


def _cell(estimate: dict[str, Any] | None, form: Any, **options: Any) -> str:
    if estimate is None:
        return '<td aria-label="not measured">–</td>'
    ends = interval(estimate, form, **options)
    small = f'<span class="small">{ends}</span>' if ends else ""
    return f"<td>{form(estimate['value'], **options)}{small}</td>"


def _table(caption: str, head: list[str], body: list[str]) -> str:
    heads = "".join(f'<th scope="col">{name}</th>' for name in head)
    return (
        f'<div class="wide" role="region" aria-label="{caption}" tabindex="0"><table><caption>{caption}</caption>'
        f"<thead><tr>{heads}</tr></thead>\n<tbody>{''.join(body)}</tbody></table></div>"
    )


def _figures(found: dict[str, Any]) -> str:
    systems = ["model", *BASELINES, *["other"] * ("other" in found)]
    heads = {"model": "this model", **BASELINES, "other": escape(found.get("other", {}).get("name", ""))}
    # Only tokens that both models were asked for have differences. They are those of the first rows.
    differences = [
        section["model minus other"][measure]
        for section, measures in (
            (found["masked_lm"][0], ("accuracy", "top_5_accuracy", "loss")),
            (found["masked_windows"], ("accuracy", "loss")),
        )
        for measure in measures
        if "model minus other" in section
    ]
    body = []
    for place, (name, estimates, form) in enumerate(rows(found)):
        cells = "".join(_cell(estimates.get(system), form) for system in systems)
        if differences:
            cells += _cell(differences[place] if place < len(differences) else None, form, signed=True)
        body.append(f'<tr><th scope="row">{name}</th>{cells}</tr>\n')
    head = ["measure", *(heads[system] for system in systems), *["difference"] * bool(differences)]
    return "<h2>In figures</h2>\n" + _table("With 95 % intervals.", head, body)


def _words(words: list[list[Any]]) -> str:
    lines = []
    for word, probability, is_right in words:
        right = ' class="right"' if is_right else ""
        mark = " ✓" if is_right else ""
        lines.append(
            f'<dt lang="ja"{right}>{escape(word)}{mark}</dt>'
            f'<dd class="bar"><i style="width:{100 * probability:.1f}%"></i></dd><dd>{percent(probability)}</dd>'
        )
    return f'<dl class="words">{"".join(lines)}</dl>'


def _gap(filled: dict[str, Any], others: list[tuple[str, dict[str, Any]]]) -> str:
    gap = f"<mark>{escape('/'.join(filled['answers']))}</mark>"
    answers = [("this model", filled), *others]
    words = "".join(
        (f'<p class="small">{escape(name)}</p>' if others else "") + _words(one["words"]) for name, one in answers
    )
    return f'<li><p lang="ja">{escape(filled["before"])}{gap}{escape(filled["after"])}</p>{words}</li>'


def _gaps(found: dict[str, Any]) -> str:
    mine, theirs = found["filled"]["model"], found["filled"].get("other", [])
    cards: dict[str | None, list[str]] = {}
    for place, filled in enumerate(mine):
        others = [(found["other"]["name"], theirs[place])] if place < len(theirs) else []
        cards.setdefault(filled["kind"], []).append(_gap(filled, others))
    held_out = "\n".join(cards.pop(None, []))
    cloze = "\n".join(
        f"<details><summary>{kind}: {len(gaps)} sentences</summary>\n"
        f'<ul class="gaps">\n{"".join(gaps)}\n</ul></details>'
        for kind, gaps in cards.items()
    )
    first = ""
    if theirs:
        name = escape(found["other"]["name"])
        first = f'<p class="small">In each, the upper five are this model\'s, the lower five those of {name}.</p>\n'
    return (
        "<h2>What it puts into a gap</h2>\n<p>The five entries that it thinks most likely, and how likely. The answers "
        "that count as right stand in the gap; ✓ marks them among the five.</p>\n"
        + _cloze_table(found)
        + first
        + f"{cloze}\n<h2>The same in held-out text</h2>\n"
        "<p>The marked token was hidden from the model; ✓ marks it where it is among the five.</p>\n"
        f'<ul class="gaps">\n{held_out}\n</ul>'
    )


def _cloze_table(found: dict[str, Any]) -> str:
    head, body = ["sentences", "number"], []
    for name in found["cloze"]:
        head += ["right first" if name == "model" else f"{escape(found[name]['name'])}: first", "among five"]
    for rows_of_kind in zip(*found["cloze"].values(), strict=True):
        cells = f"<td>{rows_of_kind[0]['sentences']}</td>"
        cells += "".join(f"<td>{row[name]['count']}</td>" for row in rows_of_kind for name in ("first", "among_five"))
        body.append(f'<tr><th scope="row">{escape(rows_of_kind[0]["kind"])}</th>{cells}</tr>\n')
    return _table("Cloze sentences with a right answer.", head, body)


def _costs(shown: list[list[list[Any]]]) -> str:
    lines = []
    for sentence in shown:
        tokens = "".join(
            f'<span style="background:rgba(var(--cost),{min(loss / _DEAREST, 1) * 0.75:.2f})" '
            f'title="{escape(token)}: {loss:.1f} nats">{escape(token.removeprefix("##") or token)}</span>'
            for token, loss in sentence
        )
        lines.append(f'<p class="cost" lang="ja">{tokens}</p>')
    key = "".join(
        f'<span style="background:rgba(var(--cost),{nats / _DEAREST * 0.75:.2f})">{nats}</span>'
        for nats in (0, 2, 4, 6, 8)
    )
    return (
        "<h2>Where held-out text surprises it</h2>\n<p>Each token's loss when it alone is hidden; the deeper the "
        f'colour, the less likely it seemed. In nats: <span class="key">{key}</span></p>\n' + "\n".join(lines)
    )


def _parts(found: dict[str, Any]) -> str:
    other = found["masked_lm"][0].get("other")
    name = escape(found["other"]["name"]) if other else ""
    head = ["masked tokens", "number", "right", "among five", "loss"]
    for title in BASELINES.values():
        head += [f"{title}: right", "loss"]
    head += [f"{name}: right", "loss"] if other else []
    body, by = [], None
    for row in found["masked_lm"]:
        if not row["masked_tokens"]:
            continue
        if row["by"] != by and row["by"] in _PARTS:
            body.append(f'<tr class="group"><th scope="rowgroup" colspan="{len(head)}">{_PARTS[row["by"]]}</th></tr>\n')
        by = row["by"]
        model = row["model"]
        width = 100 * model["accuracy"]["value"]
        meter = f'<span class="meter" aria-hidden="true"><i style="width:{width:.1f}%"></i></span>'
        cells = [
            f"<td>{row['masked_tokens']:,}</td>",
            _cell(model["accuracy"], percent).replace("</td>", meter + "</td>"),
            _cell(model["top_5_accuracy"], percent),
            _cell(model["loss"], number),
        ]
        for system in (*BASELINES, "other"):
            if system in row:
                cells.append(f"<td>{percent(row[system]['accuracy']['value'])}</td>")
                cells.append(f"<td>{number(row[system]['loss']['value'])}</td>")
        body.append(f'<tr><th scope="row">{escape(row["part"])}</th>{"".join(cells)}</tr>\n')
    return "<h2>Which tokens are hard</h2>\n" + _table("Masked tokens by kind, with 95 % intervals.", head, body)


def _calibration(calibration: dict[str, Any]) -> str:
    tables = []
    for name, title in TITLES.items():
        body = []
        for one in calibration[name]["bins"]:
            cells = f"<td>{one['count']:,}</td><td>{percent(one['predicted'])}</td>{_cell(one['frequency'], percent)}"
            body.append(f'<tr><th scope="row">{one["from"]:.0%} to {one["to"]:.0%}</th>{cells}</tr>\n')
        error = percent(calibration[name]["expected_calibration_error"])
        head = ["predicted", "predictions", "on average", "right"]
        tables.append(_table(f"{title}: expected calibration error {error}.", head, body))
    return (
        "<h2>Whether its probabilities can be believed</h2>\n<p>Of the entries to which it gives 30 %, about 30 % "
        "should be right: points below the dashed line say that it is too sure of itself. A point's area tells how "
        "many predictions it stands for, its line the 95 % interval.</p>\n"
        f'<div class="plots">{calibration_plot(calibration)}</div>\n'
        f"<details><summary>The same as tables</summary>{''.join(tables)}</details>"
    )


def _terms(found: dict[str, Any]) -> str:
    data, windows = found["data"], found["masked_windows"]
    left_out = data["sentences_left_out"]
    source = "the held-out part of the corpus" if data["sentences_of"] == "corpus" else "held-out examples, unmasked"
    terms = [
        ("Held out",
         f"{data['held_out_examples']:,} examples in the {data['held_out_files']:,} file(s) that training did not "
         f"read; the first {data['examples']:,} of them were used. Where the TFRecords hold several copies of a "
         "text, masked differently, examples resemble one another and the intervals are somewhat too narrow."),
        ("Masked LM",
         "Loss is Σ weight × −ln P(token) / Σ weight, accuracy the weighted share of tokens whose most probable entry "
         "is the right one, as ALBERT's own program evaluates them."),
        (f"{windows['masked_share']:.0%} of {windows['tokens']} tokens masked",
         f"The evaluation of the training recipe `efficient`: {windows['windows']:,} windows of held-out text without "
         f"pairs, {windows['masked_tokens']:,} tokens in whole words, each replaced by [MASK]."),
        ("Sentence order",
         "Whether two neighbouring parts of a text were swapped; "
         f"{percent(found['sentence_order']['swapped']['value'])} of the examples are."),
        ("Pseudo-perplexity",
         f"Every token of {data['sentences']:,} sentences ({source}) is masked in turn, and e is raised to the mean "
         f"loss (Salazar et al. 2020). Sentences with an [UNK] ({left_out['unknown_token']:,}) or too long for the "
         f"examples' length ({left_out['too_long']:,}) were passed over. Bits a character is the same loss over "
         "the text's characters. It compares vocabularies with care: a masked character has the rest of its word "
         "beside it, a masked word has not."),
        ("Unigrams",
         f"Each entry's share of {data['baseline_tokens']:,} tokens of training examples, add-one smoothing: what can "
         "be known without reading the sentence."),
        ("Neighbours",
         "P(token | left, right), counted in the same tokens with Witten-Bell smoothing: what can be known from the "
         "two tokens beside it. A neighbour that is masked is unknown."),
        ("Cloze sentences",
         "Sentences written for this project. A vocabulary of characters has a gap of one character, a vocabulary of "
         "words has a gap of one word where the sentence offers it. An entry is right if it is one of the answers, "
         "## before it aside."),
        ("Intervals",
         "95 %, by the normal approximation for a ratio of sums, with an example (or a sentence) as the unit; of the "
         "calibration's frequencies, and where none or all are right, Wilson's."),
        ("Calibration error",
         "The mean distance between predicted probability and frequency over ten bins, weighted by their predictions. "
         "The five together: the sum of five probabilities against whether one of them is right."),
    ]  # fmt: skip
    listed = "".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in terms)
    files = '<p class="note">All numbers: evaluation.json.</p>'
    return f'<h2>How it was measured</h2>\n<dl class="terms">{listed}</dl>\n{files}'
