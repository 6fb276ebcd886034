"""Rows → a table that reads well on a terminal and is Markdown."""

from scripts.bench.rows import Bar, Row

HEAD = ["stage", "what", "unit", "here", "yardstick", "", "ratio", "bar", "holds", "CPU s", "peak MB"]
# Columns of figures stand right.
RIGHT = {3, 4, 6, 7, 9, 10}


def table(rows: list[Row]) -> list[str]:
    """The lines of the table; CPU time and peak memory of ours, then of the yardstick."""
    return aligned([HEAD, *map(_cells, rows)], RIGHT)


def aligned(cells: list[list[str]], right: set[int]) -> list[str]:
    """Lines of cells, the first one the head, as a table of Markdown; the columns of `right` stand right."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    rule = ["-" * (width - 1) + (":" if column in right else "-") for column, width in enumerate(widths)]

    def line(texts: list[str]) -> str:
        padded = (
            text.rjust(width) if column in right else text.ljust(width)
            for column, (text, width) in enumerate(zip(texts, widths, strict=True))
        )
        return f"| {' | '.join(padded)} |"

    return [line(cells[0]), line(rule), *map(line, cells[1:])]


def notes(rows: list[Row]) -> list[str]:
    """What the table has no room for."""
    return [f"{row.group}, {row.name}: {row.note}" for row in rows if row.note]


def _cells(row: Row) -> list[str]:
    beside = row.yardstick
    return [
        row.group,
        row.name,
        row.unit,
        short(row.ours.value),
        short(beside.value) if beside else "",
        row.yardstick_name,
        f"{short(row.ratio)} ×" if row.ratio else "",
        bar(row.bar),
        _holds(row),
        " / ".join(short(side.cpu_seconds) for side in (row.ours, beside) if side),
        " / ".join(f"{side.peak_memory / 1e6:.0f}" for side in (row.ours, beside) if side),
    ]


def _holds(row: Row) -> str:
    if row.equal is False:
        return "NO: outputs differ"
    if row.bar is None:
        return "same output" if row.equal else ""
    return "yes" if row.holds else "NO"


def bar(bar: Bar | None) -> str:
    """`≥ 25 ×`, `≤ 400 M`"""
    if bar is None:
        return ""
    number = short(bar.number) if bar.number >= 1e4 else f"{bar.number:g}"
    return f"{bar.sign} {number}" + " ×" * (not bar.of_value)


def short(value: float) -> str:
    """A figure in three digits: `45.2 M`, `260 k`, `1,230`, `28.4`, `0.043`."""
    for limit, size, letter in ((1e9, 1e9, " G"), (1e6, 1e6, " M"), (1e4, 1e3, " k")):
        if value >= limit:
            return _three_digits(value / size) + letter
    return _three_digits(value)


def _three_digits(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"
