"""A dataclass of options ↔ command line, environment, limits, ``--help``, the manifest. Runs on Python 3.7 as well.

A stage writes an option once, as a field of its ``Options``::

    seq_length: int = option(512, "tokens in an example", unit="L", least=8, most=512, decides=True)

``--seq-length`` on the command line and ``SEQ_LENGTH`` in the environment follow from it, and so do the error for a
value out of range and the line in ``--help``. The command line has priority over the environment. A ``path`` has no
variable: its default follows from DATA, WORK_DIR, MODELS, MODEL and SIZE (``folders.py``).
"""

import argparse
import dataclasses
import os
import typing
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Type, TypeVar

from stages.command.folders import Place
from stages.command.refusal import Refusal

EXIT_CODES = """
variables:  an option is also a variable of make and of a container: --name-of-it is NAME_OF_IT; a path has none
exit codes: 0 done, 1 a bug, 2 usage or bad input, 75 try again when the cause is gone, 130 and 143 interrupted;
            137 killed from outside, most likely for lack of memory
"""
# The default of an option that must be given.
REQUIRED: Any = object()
Kind = TypeVar("Kind")


class Described(NamedTuple):
    """What the field of an option says beside its name, type and default value."""

    help: str
    unit: str
    least: Optional[float]
    most: float
    choices: Tuple[str, ...]
    checked: Optional[Callable[[str], str]]
    decides: bool
    positional: bool
    several: bool
    flag: str
    variable: str
    path: bool


class Option(NamedTuple):
    """A field of a dataclass of options, with everything that follows from it."""

    name: str
    kind: type
    default: Any  # REQUIRED, a value, or a function without arguments that gives one
    described: Described
    flag: str  # --seq-length
    variable: str  # SEQ_LENGTH, or "" where there is none

    @property
    def required(self) -> bool:
        return self.default is REQUIRED

    def converted(self, text: str) -> Any:
        """The value that a word of the command line means. ``argparse.ArgumentTypeError`` for one that is refused."""
        if self.described.choices and text not in self.described.choices:
            raise argparse.ArgumentTypeError("%s is not %s" % (text, _listed(self.described.choices)))
        if self.described.checked:
            return self.described.checked(text)
        if self.kind is str:
            return text
        return _number(self.kind, text, self.described.least, self.described.most)

    def of_variable(self, text: str) -> Any:
        """The value that the environment's ``text`` means. ``argparse.ArgumentTypeError`` for one that is refused."""
        if self.kind is bool:
            if text not in ("0", "1"):
                raise argparse.ArgumentTypeError("%s is neither 1 nor 0" % text)
            return text == "1"
        # The name of a file may have spaces.
        words = text.split() if self.described.several and not self.described.path else [text]
        values = tuple(map(self.converted, words))
        return values if self.described.several else values[0]


def option(
    default: Any,
    help: str,
    *,
    unit: str = "",
    least: Optional[float] = None,
    most: float = float("inf"),
    choices: Sequence[str] = (),
    checked: Optional[Callable[[str], str]] = None,
    decides: bool = False,
    positional: bool = False,
    several: bool = False,
    flag: str = "",
    variable: Optional[str] = None,
    is_path: bool = False,
) -> Any:
    """A field of a dataclass of options.

    default: REQUIRED, a value, or a function that gives one. None: the stage takes what ``help`` says in brackets.
    unit: how ``--help`` calls the value. least, most: limits of a number, both included. checked: gives the value of a
    word or raises ``argparse.ArgumentTypeError``. decides: the value decides the bytes of the output, so the manifest
    records it. several: one word or more, a tuple. variable: "" where there is none although it is no path.
    """
    named = "" if positional else "?" if variable is None else variable
    described = Described(
        help, unit, least, most, tuple(choices), checked, decides, positional, several, flag, named, is_path
    )
    # A function as a value is not the default of a field of that type: `options_of` calls it.
    return dataclasses.field(default=default, metadata={"option": described})


def path(
    default: Any, help: str, *, if_there: bool = False, several: bool = False, variable: str = "", unit: str = "PATH"
) -> Any:
    """The option of a file or folder.

    default: a template of ``folders.py``, a function of the environment that gives one, REQUIRED, or None. if_there:
    the default counts only where there is such a file or folder. variable: one that names it, if there is one.
    """
    if default is not None and default is not REQUIRED:
        default = Place(default, if_there)
    return option(default, help, several=several, variable=variable, unit=unit, is_path=True)


def options_of(kind: type) -> List[Option]:
    """The options of a dataclass, in order."""
    types = typing.get_type_hints(kind)
    found = []
    for field in dataclasses.fields(kind):
        described = field.metadata["option"]
        flag = described.flag or "--" + field.name.replace("_", "-")
        variable = flag.strip("-").replace("-", "_").upper() if described.variable == "?" else described.variable
        found.append(Option(field.name, _plain(types[field.name]), field.default, described, flag, variable))
    return found


def decisive(options: Any) -> Dict[str, Any]:
    """The options that decide the bytes of the output, as the manifest records them."""
    return {each.name: getattr(options, each.name) for each in options_of(type(options)) if each.described.decides}


def parse(
    kind: Type[Kind],
    stage: str,
    description: Optional[str],
    arguments: Sequence[str],
    epilog: Optional[str] = None,
    environment: Mapping[str, str] = os.environ,
) -> Kind:
    """The options of a stage, from its command line and the environment.

    Prints help or an error and ends the process, as argparse does. ``Refusal`` with what a method ``conflict`` of the
    dataclass says, if there is one: which options do not go together.
    """
    parser = argparse.ArgumentParser(stage, description=description, epilog=epilog, formatter_class=HelpFormatter)
    add_options(parser, kind, environment)
    return made(kind, parser.parse_args(arguments), environment)


def made(kind: Type[Kind], given: argparse.Namespace, environment: Mapping[str, str]) -> Kind:
    """The dataclass of what a parser with ``add_options`` has read; paths that are not given follow from the rest."""
    values: Dict[str, Any] = {}
    for each in options_of(kind):
        value = getattr(given, each.name)
        if value is None and isinstance(each.default, Place):
            value = each.default.path(environment, {**vars(given), **values})
            value = [value] if each.described.several else value
        values[each.name] = tuple(value) if isinstance(value, list) else value
    options = kind(**values)
    conflict = options.conflict() if hasattr(options, "conflict") else None
    if conflict:
        raise Refusal(conflict)
    return options


def add_options(parser: argparse.ArgumentParser, kind: type, environment: Mapping[str, str]) -> None:
    """Every option of a dataclass as a flag; the environment's value is its default."""
    for each in options_of(kind):
        described = each.described
        place = each.default if isinstance(each.default, Place) else None
        default = None if each.required or place else each.default() if callable(each.default) else each.default
        required, text = each.required, environment.get(each.variable, "").strip() if each.variable else ""
        if text:
            try:
                default, required = each.of_variable(text), False
            except argparse.ArgumentTypeError as error:
                parser.error("%s (%s): %s" % (each.variable, each.flag, error))
        shown = described.help + (" (default: %s)" % place.shown if place and place.shown else "")
        rest: Dict[str, Any] = {"help": shown.replace("%", "%%"), "default": default}
        if each.kind is bool:
            parser.add_argument(each.flag, dest=each.name, action="store_true", **rest)
            continue
        rest["metavar"] = described.unit or _metavar(each)
        if each.kind is not str or described.checked:
            rest["type"] = each.converted
        if described.choices:
            rest["choices"] = described.choices
        if described.positional:
            parser.add_argument(each.name, nargs="*", **rest)
        elif described.several:
            parser.add_argument(each.flag, dest=each.name, required=required, nargs="+", **rest)
        else:
            parser.add_argument(each.flag, dest=each.name, required=required, **rest)


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """``--help`` with every default shown, paragraphs of the description kept as written, and the exit codes last."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=110)

    def format_help(self) -> str:
        # It formats the usage before an error as well, which is one item alone.
        return super().format_help() + (EXIT_CODES if len(self._root_section.items) > 1 else "")

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(indent + line for line in text.strip().splitlines())

    def _get_help_string(self, action: argparse.Action) -> Optional[str]:
        shown = action.default not in (None, False, ()) and "(default:" not in (action.help or "")
        return super()._get_help_string(action) if shown else action.help


def _plain(kind: Any) -> type:
    """The type of one value: ``int`` of ``Optional[int]`` and of ``Tuple[int, ...]``."""
    inner = [argument for argument in getattr(kind, "__args__", ()) if argument not in (type(None), Ellipsis)]
    return _plain(inner[0]) if inner else kind


def _metavar(each: Option) -> Optional[str]:
    if each.described.choices:
        return None
    return {int: "N", float: "X"}.get(each.kind, "NAME")


def _number(kind: Callable[[str], float], text: str, least: Optional[float], most: float) -> float:
    try:
        value = kind(text)
    except ValueError:
        value = float("nan")
    low = float("-inf") if least is None else least
    if not low <= value <= most or abs(value) == float("inf"):
        word = "whole number" if kind is int else "number"
        limits = "of %s or more" % least if most == float("inf") else "from %s to %s" % (least, most)
        raise argparse.ArgumentTypeError("%s is no %s %s" % (text, word, limits if least is not None else ""))
    return value


def _listed(choices: Sequence[str]) -> str:
    return " or ".join([", ".join(choices[:-1]), choices[-1]] if len(choices) > 1 else choices)
