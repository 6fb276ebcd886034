"""Estimates → formatted figures."""

from typing import Any

NONE = "–"


def number(value: float | None, signed: bool = False) -> str:
    """At least three significant digits from 0.1 on: 0.123, 4.56, 123.5, 1,235."""
    if value is None:
        return NONE
    size = abs(value)
    digits = 0 if size >= 1000 else 1 if size >= 100 else 2 if size >= 1 else 3
    return format(value, f"{'+' * signed},.{digits}f").replace("-", "−")


def percent(value: float | None, signed: bool = False) -> str:
    """`0.1234` → `12.3 %`."""
    return NONE if value is None else format(100 * value, f"{'+' * signed}.1f").replace("-", "−") + " %"


def interval(estimate: dict[str, Any], form: Any = number, **options: Any) -> str:
    """`12.3 % to 14.5 %`; "" without an interval."""
    if estimate["low"] is None or estimate["high"] is None:
        return ""
    return f"{form(estimate['low'], **options)} to {form(estimate['high'], **options)}"
