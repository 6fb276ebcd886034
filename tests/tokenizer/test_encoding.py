"""The command's and the service's tokenizer against the tokenizer class, which it must equal on every text."""

import itertools
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import AddedToken

from stages.command.refusal import Refusal
from stages.words.encoding import Options, Tokenizer
from stages.words.japanese_subwords import WholeToken, normalise
from stages.words.reading import read_tokenizer
from stages.words.tokenization import BertJapaneseTinySegmenterTokenizer

VOCABULARY = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", " ", *"私はとでキロガ京都東、。", "です", "単語", "##ロ", "##都",
    "##京", "a", "##b",
]  # fmt: skip
PIECES = [
    "私", "は", "東京都", "単語", "です", "㌔", "ｶﾞ", "[MASK]", "[SEP]", " ", "\u3000", "\n", "が\u3099", "𠮷", "ab",
    "AB", "最初", "XY", "😀",
]  # fmt: skip
TEXTS = st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=8).map("".join)


def folders(base: Path) -> dict[str, Path]:
    """Model folders with every option that a folder may have."""
    vocabulary = base / "vocab.txt"
    vocabulary.write_text("".join(entry + "\n" for entry in VOCABULARY), encoding="utf-8", newline="\n")
    options: dict[str, dict[str, Any]] = {
        "wordpiece": {},
        "character": {"subword_tokenizer_type": "character"},
        "lower": {"do_lower_case": True},
        "marked": {"subword_tokenizer_type": "character", "manual_subword_marking": True},
        "words": {"do_subword_tokenize": False},
        "spaces": {"do_word_tokenize": False},
        "never": {"never_split": ["東京", "最初"]},
        "added": {"subword_tokenizer_type": "character"},
        "left": {"truncation_side": "left", "model_max_length": 6},
        "other": {"cls_token": "[SEP]"},
    }
    made = {}
    for name, given_ in options.items():
        tokenizer = BertJapaneseTinySegmenterTokenizer(vocabulary, **given_)
        if name == "added":
            tokenizer.add_tokens(["最初", AddedToken("XY", single_word=True, lstrip=True, rstrip=True)])
        made[name] = base / name
        tokenizer.save_pretrained(made[name])
    return made


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Tokenizer, BertJapaneseTinySegmenterTokenizer]]:
    made = folders(tmp_path_factory.mktemp("folders"))
    return {
        name: (read_tokenizer(str(path)), BertJapaneseTinySegmenterTokenizer.from_pretrained(path))
        for name, path in made.items()
    }


NAMES = ["wordpiece", "character", "lower", "marked", "words", "spaces", "never", "added", "left", "other"]


@pytest.mark.parametrize("name", NAMES)
@given(texts=st.lists(TEXTS, max_size=5))
@example(texts=["", "㌔[MASK]㌔[SEP]", "[MASK][MASK]", "  ", "が\u3099ｶﾞ"])
@example(texts=["最初 XY ab", "東京[MASK]ｶﾞ最初"])
@settings(max_examples=30)
def test_equal_to_the_class(both: Any, name: str, texts: list[str]) -> None:
    ours, theirs = both[name]
    expected = [theirs(text, return_offsets_mapping=True, verbose=False) for text in texts]
    rows = ours.rows(texts, Options())
    assert [row.input_ids for row in rows] == [each["input_ids"] for each in expected]
    assert [[tuple(pair) for pair in row.offsets] for row in rows] == [each["offset_mapping"] for each in expected]
    assert ours.tokens(texts) == [theirs.tokenize(text) for text in texts]
    assert ours.lines(texts) == "".join(" ".join(theirs.tokenize(text)) + "\n" for text in texts).encode()
    for row in rows:
        assert row.tokens == theirs.convert_ids_to_tokens(row.input_ids)
        assert ours.decode(row.input_ids, False) == theirs.decode(row.input_ids)
        assert ours.decode(row.input_ids) == theirs.decode(row.input_ids, skip_special_tokens=True)
    cut = [theirs(text, truncation=True, max_length=4)["input_ids"] for text in texts]
    assert [row.input_ids for row in ours.rows(texts, Options(max_length=4))] == cut
    bare = [theirs(text, add_special_tokens=False, verbose=False)["input_ids"] for text in texts]
    assert [row.input_ids for row in ours.rows(texts, Options(special_tokens=False))] == bare


@pytest.mark.parametrize("name", ["wordpiece", "character"])
@given(text=st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=60))
@settings(max_examples=100)
def test_offsets_lead_back_to_what_a_token_stands_for(both: Any, name: str, text: str) -> None:
    ours, _ = both[name]
    [row] = ours.rows([text], Options(special_tokens=False))
    for token, (start, end), word in zip(row.tokens, row.offsets, row.word_ids, strict=True):
        assert 0 <= start < end <= len(text)
        assert word is not None
        if token != "[UNK]":
            assert token.removeprefix("##") in normalise(text[start:end])
    starts = [start for start, _ in row.offsets]
    assert starts == sorted(starts)
    assert all(after - before in (0, 1) for before, after in itertools.pairwise([-1, *map(int, row.word_ids)]))


def test_the_same_without_the_compiled_rules(both: Any) -> None:
    random.seed(1)
    texts = ["".join(random.choices("私は東京都です。㌔ｶﾞ ab[MASK]", k=20)) for _ in range(50)]
    for name in ("wordpiece", "character"):
        ours, _ = both[name]
        fast = ours.rows(texts, Options()), ours.lines(texts), ours.tokens(texts)
        compiled, ours.rules.compiled = ours.rules.compiled, None
        try:
            assert (ours.rows(texts, Options()), ours.lines(texts), ours.tokens(texts)) == fast
        finally:
            ours.rules.compiled = compiled


def test_every_plane_and_long_texts(both: Any) -> None:
    ours, _ = both["wordpiece"]
    every = "".join(chr(point) for point in range(0x110000) if not 0xD800 <= point < 0xE000)
    [row] = ours.rows([every], Options())
    assert all(0 <= start < end <= len(every) for start, end in row.offsets[1:-1])
    [long] = ours.rows(["私は" * 1_000_000], Options(max_length=4))
    assert long.tokens == ["[CLS]", "私", "は", "[SEP]"]


def test_lone_surrogates_and_ids_that_are_none(both: Any) -> None:
    ours, _ = both["character"]
    with pytest.raises(ValueError, match=r"character 1 of the text is a lone surrogate \(U\+D800\)"):
        ours.rows(["私", "は\ud800"], Options())
    with pytest.raises(ValueError, match="id 99999 at place 1 is none of 0 to"):
        ours.decode([2, 99999])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"do_lower_case": "yes"}, "'yes' for do_lower_case, which must be of the type bool"),
        ({"cls_token": "[NO]"}, "'[NO]' for cls_token, which is no entry of the vocabulary"),
        ({"added_tokens_decoder": {"x": {"content": "a"}}}, "no token for x in added_tokens_decoder"),
        ({"added_tokens_decoder": {"99999999999": {"content": "a"}}}, "no token for 99999999999"),
        (
            {"subword_tokenizer_type": "bytes"},
            "subword_tokenizer_type is 'bytes'; it must be one of wordpiece, character",
        ),
    ],
)
def test_configurations_that_say_nothing_of_use(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    folder = folders(tmp_path)["wordpiece"]
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(Refusal) as refusal:
        read_tokenizer(str(folder))
    assert message in str(refusal.value)


def test_special_tokens_that_no_configuration_lists_are_whole_all_the_same(tmp_path: Path) -> None:
    folder = folders(tmp_path)["wordpiece"]
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertJapaneseTinySegmenterTokenizer"}')
    tokenizer = read_tokenizer(str(folder))
    assert tokenizer.tokens(["私[MASK]は"]) == [["私", "[MASK]", "は"]]
    assert WholeToken("[MASK]") in tokenizer.rules.whole
    assert tokenizer.max_length is None
