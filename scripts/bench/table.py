"""Rows → a table that reads well on a terminal and is Markdown."""

from scripts.bench.rows import Row, short

HEAD = ["stage", "what", "unit", "here", "yardstick", "", "ratio", "bar", "holds", "CPU s", "peak MB"]
RIGHT = {"here", "yardstick", "ratio", "bar", "CPU s", "peak MB"}


def table(rows: list[Row]) -> list[str]:
    """The lines of the table, without empty columns. CPU time and peak memory: ours, then the yardstick's."""
    columns = [column for column in zip(HEAD, *map(_cells, rows), strict=True) if any(column[1:])]
    aligned = []
    for head, *cells in columns:
        width, right = max(map(len, [head, *cells])), head in RIGHT
        line = "-" * (width - 1) + "-:"[right]
        aligned.append([cell.rjust(width) if right else cell.ljust(width) for cell in (head, line, *cells)])
    return [f"| {' | '.join(cells)} |" for cells in zip(*aligned, strict=True)]


def _cells(row: Row) -> list[str]:
    sides = [side for side in (row.ours, row.yardstick) if side and side.cpu_seconds]
    holds = "" if row.holds is None else "yes" if row.holds else "NO"
    if row.equal is not None and row.bar is None:
        holds = "same output"
    if row.equal is False:
        holds = "NO: outputs differ"
    return [
        row.group,
        row.name,
        row.unit,
        short(row.ours.value) if row.ours else "not here",
        short(row.yardstick.value) if row.yardstick else "",
        row.yardstick_name,
        "" if row.ratio is None else f"{short(row.ratio)} ×",
        str(row.bar or ""),
        holds,
        " / ".join(short(side.cpu_seconds) for side in sides),
        " / ".join(f"{side.peak_memory / 1e6:.0f}" for side in sides),
    ]
