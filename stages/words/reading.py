"""A model folder, on this machine or in a bucket → its vocabulary and its tokenizer, without transformers."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from stages.command.refusal import Refusal
from stages.handover import storage
from stages.handover.manifests import read_json
from stages.words import japanese_subwords
from stages.words.encoding import Tokenizer
from stages.words.japanese_subwords import SPECIAL_TOKENS, SubwordTokenizer, WholeToken

CONFIG = "tokenizer_config.json"
VOCABULARY = "vocab.txt"
# The folder of the models of this project, as in released/character/tiny.
RELEASED = "released"
CLASS = "BertJapaneseTinySegmenterTokenizer"
# transformers writes 1e30 for a model without a maximum length.
NO_LENGTH = 1 << 40


def resolve_folder(folder: str) -> str:
    """The path of a folder of models. `released` and its subfolders are in this project, unless the folder exists.

    Refuses a released model that does not exist.
    """
    if folder.split("/")[0] != RELEASED or os.path.isdir(folder):
        return folder
    stages = Path(__file__).resolve().parents[1]
    if not (stages / folder).is_dir():
        names = sorted(str(config.parent.relative_to(stages)) for config in stages.glob(f"{RELEASED}/*/*/{CONFIG}"))
        raise Refusal(f"no model {folder} comes with this project; there is {', '.join(names)}")
    return str(stages / folder)


@contextlib.contextmanager
def local_folder(folder: str, files: Sequence[str]) -> Iterator[str]:
    """A path with the files of a model folder: the folder itself, or a temporary copy of these files.

    Refuses a folder without one of them.
    """
    check_files(folder, files)
    if not storage.remote(folder):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="model-") as copy:
        storage.fetch_all(folder, files, copy)
        yield copy


def check_files(folder: str, files: Sequence[str]) -> None:
    """Refuse a folder that does not exist or that lacks one of a model's files."""
    if not (storage.remote(folder) or os.path.isdir(folder)):
        raise Refusal(f"there is no model folder {folder}; make convert writes one")
    missing = [name for name in files if not storage.exists(storage.join(folder, name))]
    if missing:
        raise Refusal(f"{folder} is no model folder: it has no {' and no '.join(missing)}; make convert writes one")


def read_vocabulary(path: str, remedy: str = "") -> dict[str, int]:
    """entry → id of a vocab.txt. Refuses one that is missing (with `remedy`) or invalid (with the line)."""
    try:
        return _read_vocabulary(path)
    except OSError as error:
        raise Refusal(f"cannot read {path}: {error.strerror}{remedy}")
    except ValueError as error:
        raise Refusal(str(error))


def read_tokenizer(folder: str) -> Tokenizer:
    """The tokenizer of a model folder, without running the folder's code.

    Refuses a folder that lacks a file, has another tokenizer, or has an invalid vocabulary.
    """
    check_files(folder, (VOCABULARY, CONFIG))
    path = storage.join(folder, CONFIG)
    config = read_json(path)
    name = config.get("tokenizer_class") if isinstance(config, dict) else None
    if name != CLASS:
        raise Refusal(f"{path} names the tokenizer {name}, not this project's {CLASS}")
    try:
        return _tokenizer(config, _read_vocabulary(storage.join(folder, VOCABULARY)))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise Refusal(f"cannot read the tokenizer of {folder}: {reason}")


class _Copy(os.PathLike[str]):
    """The local copy of a file. Messages name the file."""

    def __init__(self, path: str, local: str) -> None:
        self._path, self._local = path, local

    def __fspath__(self) -> str:
        return self._local

    def __str__(self) -> str:
        return self._path


def _read_vocabulary(path: str) -> dict[str, int]:
    with storage.fetched(path) as local:
        return japanese_subwords.read_vocabulary(_Copy(path, local))  # type: ignore[arg-type]


def _tokenizer(config: dict[str, Any], vocabulary: dict[str, int]) -> Tokenizer:
    """The tokenizer of a configuration. ValueError, naming the setting, for an invalid value."""

    def setting(name: str, kind: type, default: Any) -> Any:
        value = config.get(name, default)
        if value is not None and not isinstance(value, kind):
            raise ValueError(f"{CONFIG} has {value!r} for {name}, which must be of the type {kind.__name__}")
        return default if value is None else value

    added = _added_tokens(setting("added_tokens_decoder", dict, {}))
    whole = {token.content: token for token in added.values()}
    ids = {**vocabulary, **{token.content: id_ for id_, token in added.items()}}
    specials = {}
    for token in SPECIAL_TOKENS:
        name = f"{token[1:-1].lower()}_token"
        value = config.get(name) or token
        content = value.get("content") if isinstance(value, dict) else value
        if not isinstance(content, str) or content not in ids:
            raise ValueError(f"{CONFIG} has {content!r} for {name}, which is no entry of the vocabulary")
        specials[name] = content
        whole.setdefault(content, WholeToken(content))
    for content in setting("never_split", list, []):
        if isinstance(content, str) and content:
            whole.setdefault(content, WholeToken(content, normalized=True, special=False))

    rules = SubwordTokenizer(
        vocabulary,
        subword_tokenizer_type=setting("subword_tokenizer_type", str, "wordpiece"),
        do_lower_case=setting("do_lower_case", bool, False),
        do_word_tokenize=setting("do_word_tokenize", bool, True),
        do_subword_tokenize=setting("do_subword_tokenize", bool, True),
        manual_subword_marking=setting("manual_subword_marking", bool, False),
        unk_token=specials["unk_token"],
    )
    rules.mark_whole(whole.values())
    length = setting("model_max_length", int, NO_LENGTH)
    return Tokenizer(
        rules,
        {id_: token.content for id_, token in added.items()},
        special=frozenset(ids[token.content] for token in whole.values() if token.special),
        cls=ids[specials["cls_token"]],
        sep=ids[specials["sep_token"]],
        mask=ids[specials["mask_token"]],
        max_length=None if length >= NO_LENGTH else length,
        keep_end=setting("truncation_side", str, "right") == "left",
    )


def _added_tokens(decoder: dict[str, Any]) -> dict[int, WholeToken]:
    """The tokens of transformers' `added_tokens_decoder`, by id. The special tokens are among them."""
    tokens: dict[int, WholeToken] = {}
    for id_, entry in decoder.items():
        try:
            number, content = int(id_), entry["content"]
            conditions = [bool(entry.get(name, False)) for name in WholeToken._fields[1:]]
            if not isinstance(content, str) or not content or not 0 <= number < 1 << 20:
                raise ValueError
        except (ValueError, TypeError, KeyError, AttributeError):
            raise ValueError(f"{CONFIG} has no token for {id_} in added_tokens_decoder") from None
        tokens[number] = WholeToken(content, *conditions)
    return tokens
