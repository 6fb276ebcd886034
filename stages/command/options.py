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
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple, Type, TypeVar

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


@dataclasses.dataclass(frozen=True)
class Option:
    """A field of a dataclass of options. ``options_of`` adds what follows from the field and the flag."""

    help: str
    unit: str = ""  # the name of the value in ``--help``
    least: Optional[float] = None  # limits of a number, both included
    most: float = float("inf")
    choices: Tuple[str, ...] = ()
    checked: Optional[Callable[[str], str]] = None  # word → value; raises ``argparse.ArgumentTypeError``
    decides: bool = False  # the value decides the bytes of the output, so the manifest records it
    positional: bool = False
    several: bool = False  # one word or more: a tuple
    is_path: bool = False
    flag: str = ""  # --seq-length
    variable: Optional[str] = None  # SEQ_LENGTH, or "" if there is none
    name: str = ""
    kind: type = str
    default: Any = None  # REQUIRED, a value, a Place, or a function without arguments that returns a value

    @property
    def required(self) -> bool:
        return self.default is REQUIRED

    def converted(self, text: str) -> Any:
        """The value of a word of the command line. ``argparse.ArgumentTypeError`` for an invalid word."""
        if self.choices and text not in self.choices:
            choices = " or ".join(", ".join(self.choices).rsplit(", ", 1))
            raise argparse.ArgumentTypeError("%s is not %s" % (text, choices))
        if self.checked:
            return self.checked(text)
        if self.kind is str:
            return text
        try:
            value = self.kind(text)
        except ValueError:
            value = float("nan")
        least, most = float("-inf") if self.least is None else self.least, self.most
        if not least <= value <= most or abs(value) == float("inf"):
            limits = "of %s or more" % least if most == float("inf") else "from %s to %s" % (least, most)
            number = "whole number" if self.kind is int else "number"
            limits = "" if self.least is None else limits
            raise argparse.ArgumentTypeError("%s is no %s %s" % (text, number, limits))
        return value

    def converted_variable(self, text: str) -> Any:
        """The value of an environment variable. ``argparse.ArgumentTypeError`` for an invalid text."""
        if self.kind is bool:
            if text not in ("0", "1"):
                raise argparse.ArgumentTypeError("%s is neither 1 nor 0" % text)
            return text == "1"
        if not self.several:
            return self.converted(text)
        # The name of a file may have spaces.
        return tuple(map(self.converted, [text] if self.is_path else text.split()))


def option(default: Any, help: str, **settings: Any) -> Any:
    """A field of a dataclass of options; ``settings`` are fields of ``Option``.

    default: REQUIRED, a value, or a function that returns one. None: ``help`` gives the default in brackets.
    """
    # `options_of` calls a function; as a default of the field it stays as it is.
    return dataclasses.field(default=default, metadata={"option": Option(help, **settings)})


def path(default: Any, help: str, *, if_there: bool = False, variable: str = "", several: bool = False) -> Any:
    """The option of a file or folder.

    default: a template of ``folders.py``, a function of the environment that returns a path, REQUIRED, or None.
    if_there: the default counts only if such a file or folder exists. variable: its variable, if it has one.
    """
    default = default if default in (None, REQUIRED) else Place(default, if_there)
    return option(default, help, variable=variable, several=several, unit="PATH", is_path=True)


def options_of(kind: type) -> List[Option]:
    """The options of a dataclass, in order."""
    types = typing.get_type_hints(kind)
    options = []
    for field in dataclasses.fields(kind):
        each = field.metadata["option"]
        flag = each.flag or "--" + field.name.replace("_", "-")
        variable = flag.strip("-").replace("-", "_").upper() if each.variable is None else each.variable
        follows = {
            "name": field.name, "kind": _value_type(types[field.name]), "default": field.default, "flag": flag,
            "variable": "" if each.positional else variable,
        }  # fmt: skip
        options.append(dataclasses.replace(each, **follows))
    return options


def decisive(options: Any) -> Dict[str, Any]:
    """The options that decide the bytes of the output, as the manifest records them."""
    return {each.name: getattr(options, each.name) for each in options_of(type(options)) if each.decides}


def parse(
    kind: Type[Kind],
    stage: str,
    description: Optional[str],
    arguments: Sequence[str],
    epilog: Optional[str] = None,
    environment: Mapping[str, str] = os.environ,
) -> Kind:
    """The options of a stage, from its command line and the environment.

    Prints help or an error and ends the process, as argparse does. A method ``conflict`` of the dataclass may return
    which options contradict each other: then ``Refusal`` with that sentence.
    """
    parser = argparse.ArgumentParser(stage, description=description, epilog=epilog, formatter_class=HelpFormatter)
    add_options(parser, kind, environment)
    return from_namespace(kind, parser.parse_args(arguments), environment)


def from_namespace(kind: Type[Kind], given: argparse.Namespace, environment: Mapping[str, str]) -> Kind:
    """The dataclass from the result of a parser with ``add_options``. Missing paths follow from the other values."""
    values: Dict[str, Any] = {}
    for each in options_of(kind):
        value = getattr(given, each.name)
        if value is None and isinstance(each.default, Place):
            value = each.default.path(environment, {**vars(given), **values})
            value = [value] if each.several else value
        values[each.name] = tuple(value) if isinstance(value, list) else value
    options = kind(**values)
    conflict = options.conflict() if hasattr(options, "conflict") else None
    if conflict:
        raise Refusal(conflict)
    return options


def add_options(parser: argparse.ArgumentParser, kind: type, environment: Mapping[str, str]) -> None:
    """Add a flag for every option of a dataclass; the value in the environment is its default."""
    for each in options_of(kind):
        place = each.default if isinstance(each.default, Place) else None
        default = None if each.required or place else each.default() if callable(each.default) else each.default
        required, text = each.required, environment.get(each.variable or "", "").strip()
        if text:
            try:
                default, required = each.converted_variable(text), False
            except argparse.ArgumentTypeError as error:
                parser.error("%s (%s): %s" % (each.variable, each.flag, error))
        shown = each.help + (" (default: %s)" % place.shown if place and place.shown else "")
        rest: Dict[str, Any] = {"help": shown.replace("%", "%%"), "default": default}
        if each.kind is bool:
            parser.add_argument(each.flag, dest=each.name, action="store_true", **rest)
            continue
        word = None if each.choices else {int: "N", float: "X"}.get(each.kind, "NAME")
        rest.update(metavar=each.unit or word, choices=each.choices or None)
        rest.update(type=None if each.choices else each.converted)
        if each.positional:
            parser.add_argument(each.name, nargs="*", **rest)
        else:
            nargs = "+" if each.several else None
            parser.add_argument(each.flag, dest=each.name, required=required, nargs=nargs, **rest)


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """``--help`` with every default, the paragraphs of the description as written, and the exit codes at the end."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=110)

    def format_help(self) -> str:
        # argparse also formats the usage before an error, which is a single item.
        return super().format_help() + (EXIT_CODES if len(self._root_section.items) > 1 else "")

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(indent + line for line in text.strip().splitlines())

    def _get_help_string(self, action: argparse.Action) -> Optional[str]:
        shown = action.default not in (None, False, ()) and "(default:" not in (action.help or "")
        return super()._get_help_string(action) if shown else action.help


def _value_type(kind: Any) -> type:
    """The type of one value: ``int`` of ``Optional[int]`` and of ``Tuple[int, ...]``."""
    inner = [argument for argument in getattr(kind, "__args__", ()) if argument not in (type(None), Ellipsis)]
    return _value_type(inner[0]) if inner else kind
