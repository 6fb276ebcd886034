"""Pretrained models as a Python package: `folder("character/tiny")` is what `from_pretrained` takes."""

from pathlib import Path

# transformers' AutoTokenizer then knows the tokenizer's class, and runs no code of the folder.
import tokenization  # type: ignore[import-not-found]  # noqa: F401


def folder(name: str) -> str:
    """The folder of `character/tiny` or `wordpiece_tinysegmenter/tiny`. FileNotFoundError for any other name."""
    found = Path(__file__).parent / name
    if not (found / "config.json").is_file():
        raise FileNotFoundError(f"no released model {name}")
    return str(found)
