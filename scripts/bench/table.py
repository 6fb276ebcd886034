"""Rows → a table that reads well on a terminal and is Markdown."""

from scripts.bench.rows import Bar, Row

HEAD = ["stage", "what", "unit", "here", "yardstick", "", "ratio", "bar", "holds", "CPU s", "peak MB"]
RIGHT = {"here", "yardstick", "ratio", "bar", "CPU s", "peak MB"}
# The columns of a table without stages and costs.
BRIEF = slice(1, 9)


def table(rows: list[Row], columns: slice = slice(None)) -> list[str]:
    """The lines of the table. CPU time and peak memory: ours, then the yardstick's."""
    cells = [line[columns] for line in (HEAD, *map(_cells, rows))]
    right = [name in RIGHT for name in cells[0]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    cells.insert(1, ["-" * (width - 1) + "-:"[end] for width, end in zip(widths, right, strict=True)])
    return [f"| {' | '.join(map(_padded, line, widths, right))} |" for line in cells]


def notes(rows: list[Row], columns: slice = slice(None)) -> list[str]:
    """The notes of the rows, each behind its stage and name."""
    return [f"{', '.join([row.group, row.name][columns])}: {row.note}" for row in rows if row.note]


def _padded(text: str, width: int, right: bool) -> str:
    return text.rjust(width) if right else text.ljust(width)


def _cells(row: Row) -> list[str]:
    sides = [side for side in (row.ours, row.yardstick) if side]
    return [
        row.group,
        row.name,
        row.unit,
        short(row.ours.value) if row.ours else "not here",
        short(row.yardstick.value) if row.yardstick else "",
        row.yardstick_name,
        "" if row.ratio is None else f"{short(row.ratio)} ×",
        bar(row.bar),
        _holds(row),
        " / ".join(short(side.cpu_seconds) for side in sides),
        " / ".join(f"{side.peak_memory / 1e6:.0f}" for side in sides),
    ]


def _holds(row: Row) -> str:
    if row.ours is None:
        return ""
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
    """A figure in three digits: `45.2 M`, `260 k`, `1,230`, `28.4`, `0.043`, `0`."""
    for limit, size, letter in ((1e9, 1e9, " G"), (1e6, 1e6, " M"), (1e4, 1e3, " k")):
        if value >= limit:
            return short(value / size) + letter
    digits = next((digits for digits, limit in enumerate((100, 10, 1)) if value >= limit), 3)
    return f"{value:,.{digits}f}" if value else "0"
