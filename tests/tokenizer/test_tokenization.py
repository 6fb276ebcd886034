"""The tokenizer class: tokens, ids and offsets, and what transformers does with them."""

import copy
import json
import logging
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AddedToken

from stages.words.japanese_subwords import normalise
from stages.words.tokenization import BertJapaneseTinySegmenterTokenizer as Tokenizer

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
# Ids:       5    6     7     8     9      10     11      12     13    14     15    16    17    18    19     20
WORDS = [" ", "私", "は", "と", "です", "単語", "分か", "##ち", "ガ", "##キ", "##ロ", "abc", "ABC", "の", "。", "##c"]
CHARACTERS = [" ", *"私はとです単語分かちガキロabcABCの。i\u0307한"]
PUBLISHED = Path(__file__).parents[3] / "shared/data/vocab"


def build(folder: Path, kind: str, **options: Any) -> Tokenizer:
    path = folder / f"{kind}.txt"
    path.write_text("\n".join([*SPECIAL, *(WORDS if kind == "wordpiece" else CHARACTERS)]) + "\n", newline="\n")
    return Tokenizer(path, subword_tokenizer_type=kind, **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("vocabularies")


@pytest.fixture(scope="module")
def wordpiece(folder: Path) -> Tokenizer:
    return build(folder, "wordpiece")


@pytest.fixture(scope="module")
def character(folder: Path) -> Tokenizer:
    return build(folder, "character")


@pytest.fixture(params=["wordpiece", "character"])
def either(request: pytest.FixtureRequest) -> Tokenizer:
    tokenizer: Tokenizer = request.getfixturevalue(request.param)
    return tokenizer


def published(name: str, kind: str) -> Tokenizer:
    path = PUBLISHED / name / "vocab.txt"
    if not path.exists():
        pytest.skip(f"the published vocabulary is not at {path}")
    return Tokenizer(path, subword_tokenizer_type=kind)


@pytest.fixture(autouse=True)
def _quiet_transformers() -> None:
    """transformers says for every pair that it cuts that it keeps no overflow."""
    logging.getLogger("transformers").setLevel(logging.ERROR)


# Tokens.


def test_published_wordpiece_example() -> None:
    tokenizer = published("wordpiece_tinysegmenter", "wordpiece")
    text = "単語単位で分かち書きをします。"
    assert tokenizer.tokenize(text) == ["単語", "単位", "で", "分か", "##ち", "書き", "を", "し", "ます", "。"]
    ids = tokenizer(text, max_length=16, padding="max_length", truncation=True).input_ids
    assert ids == [2, 18968, 14357, 916, 14708, 6287, 13817, 959, 900, 12441, 857, 3, 0, 0, 0, 0]
    assert tokenizer.tokenize("私は[MASK]と[SEP]です") == ["私", "は", "[MASK]", "と", "[SEP]", "です"]


def test_published_character_example() -> None:
    tokenizer = published("character", "character")
    text = "文字単位で分かち書きをします。"
    assert tokenizer.tokenize(text) == list(text)
    ids = tokenizer(text, max_length=16, padding="max_length", truncation=True).input_ids
    assert ids == [2, 2709, 1979, 1517, 1182, 916, 1402, 888, 910, 2825, 890, 959, 900, 939, 902, 3]
    assert tokenizer("あ い").input_ids == [2, 879, 15, 881, 3]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", []),
        (" \n\u3000", []),
        ("私は単語", ["私", "は", "単語"]),
        ("私は分かちです", ["私", "は", "分か", "##ち", "です"]),
        ("私　は", ["私", "は"]),
        ("ｶﾞ㌔は", ["ガ", "##キ", "##ロ", "は"]),
        ("馬は", ["[UNK]", "は"]),
        ("abc ＡＢＣ", ["abc", "ABC"]),
        ("私は[MASK]と[SEP]です", ["私", "は", "[MASK]", "と", "[SEP]", "です"]),
        ("[CLS]私[MASK][MASK]は[PAD]", ["[CLS]", "私", "[MASK]", "[MASK]", "は", "[PAD]"]),
        # Special tokens are read in the text as given: this one is not written as one.
        ("［ＭＡＳＫ］", ["[UNK]", "[UNK]"]),
    ],
)
def test_wordpiece_tokens(wordpiece: Tokenizer, text: str, tokens: list[str]) -> None:
    assert wordpiece.tokenize(text) == tokens


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", []),
        ("私は単語", ["私", "は", "単", "語"]),
        ("私　は", ["私", " ", "は"]),
        ("私\tは\u2028。", ["私", "は", "。"]),
        ("ｶﾞ㌔馬", ["ガ", "キ", "ロ", "[UNK]"]),
        ("私は[MASK]と[SEP]です", ["私", "は", "[MASK]", "と", "[SEP]", "で", "す"]),
    ],
)
def test_character_tokens(character: Tokenizer, text: str, tokens: list[str]) -> None:
    assert character.tokenize(text) == tokens


@pytest.mark.parametrize(
    ("kind", "options", "text", "tokens"),
    [
        ("wordpiece", {"do_lower_case": True}, "私はABC", ["私", "は", "abc"]),
        ("character", {"do_lower_case": True}, "ABCİ", ["a", "b", "c", "i", "\u0307"]),
        ("wordpiece", {"do_word_tokenize": False}, "分かち 私は", ["分か", "##ち", "[UNK]"]),
        ("wordpiece", {"do_subword_tokenize": False}, "私は馬です", ["私", "は", "馬", "です"]),
        ("wordpiece", {"never_split": ["私は", "ＡＢＣ"]}, "と私はＡＢＣabc", ["と", "私は", "ＡＢＣ", "abc"]),
        ("character", {"manual_subword_marking": True}, "単語です馬私", ["単", "##語", "で", "##す", "[UNK]", "##私"]),
    ],
)
def test_options(folder: Path, kind: str, options: dict[str, Any], text: str, tokens: list[str]) -> None:
    assert build(folder, kind, **options).tokenize(text) == tokens


def test_unknown_words_have_the_unknown_id(folder: Path) -> None:
    tokenizer = build(folder, "wordpiece", do_subword_tokenize=False, never_split=["私は"])
    assert tokenizer("私は馬です").input_ids == [2, 1, 1, 9, 3]


def test_special_tokens_as_plain_text(character: Tokenizer) -> None:
    assert character.tokenize("a[MASK]", split_special_tokens=True) == ["a", "[UNK]", "[UNK]", "A", *["[UNK]"] * 3]
    assert character("a[MASK]", split_special_tokens=True).input_ids.count(4) == 0


# Ids: what transformers makes of them.


def test_vocabulary(either: Tokenizer) -> None:
    assert len(either) == either.vocab_size == len(either.get_vocab())
    assert [either.convert_tokens_to_ids(token) for token in SPECIAL] == [0, 1, 2, 3, 4]
    assert either.convert_ids_to_tokens(list(range(either.vocab_size))) == list(either.get_vocab())
    assert either.convert_tokens_to_ids("馬") == either.unk_token_id == 1
    assert either.get_added_vocab() == {token: number for number, token in enumerate(SPECIAL)}


def test_pair(wordpiece: Tokenizer) -> None:
    encoded = wordpiece("私は", "です", return_special_tokens_mask=True, return_offsets_mapping=True)
    assert dict(encoded) == {
        "input_ids": [2, 6, 7, 3, 9, 3],
        "token_type_ids": [0, 0, 0, 0, 1, 1],
        "attention_mask": [1] * 6,
        "special_tokens_mask": [1, 0, 0, 1, 0, 1],
        "offset_mapping": [(0, 0), (0, 1), (1, 2), (0, 0), (0, 2), (0, 0)],
    }


def test_batch_with_padding_on_either_side(wordpiece: Tokenizer) -> None:
    batch = ["私は", "", "単語"]
    encoded = wordpiece(batch, padding=True, return_offsets_mapping=True)
    assert encoded.input_ids == [[2, 6, 7, 3], [2, 3, 0, 0], [2, 10, 3, 0]]
    assert encoded.attention_mask == [[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0]]
    assert encoded.offset_mapping[2] == [(0, 0), (0, 2), (0, 0), (0, 0)]
    left = wordpiece(batch, padding=True, padding_side="left", return_offsets_mapping=True)
    assert left.input_ids == [[2, 6, 7, 3], [0, 0, 2, 3], [0, 2, 10, 3]]
    assert left.offset_mapping[2] == [(0, 0), (0, 0), (0, 2), (0, 0)]
    arrays = wordpiece(batch, padding="max_length", max_length=6, return_offsets_mapping=True, return_tensors="np")
    assert arrays.input_ids.shape == (3, 6)
    assert arrays.offset_mapping.shape == (3, 6, 2)


def test_truncation_on_either_side(folder: Path) -> None:
    text = "私は単語です"
    right = build(folder, "wordpiece")(text, truncation=True, max_length=4, return_offsets_mapping=True)
    assert right.input_ids == [2, 6, 7, 3]
    assert right.offset_mapping == [(0, 0), (0, 1), (1, 2), (0, 0)]
    left = build(folder, "wordpiece", truncation_side="left")
    encoded = left(text, truncation=True, max_length=4, return_offsets_mapping=True)
    assert encoded.input_ids == [2, 10, 9, 3]
    assert encoded.offset_mapping == [(0, 0), (2, 4), (4, 6), (0, 0)]


def test_model_max_length_is_where_truncation_cuts(folder: Path) -> None:
    tokenizer = build(folder, "wordpiece", model_max_length=4)
    assert tokenizer("私は単語です", truncation=True).input_ids == [2, 6, 7, 3]


def test_overflow(wordpiece: Tokenizer) -> None:
    options: dict[str, Any] = {"truncation": "only_second", "max_length": 6, "stride": 1}
    plain = wordpiece("私", "は単語です", return_overflowing_tokens=True, **options)
    located = wordpiece("私", "は単語です", return_overflowing_tokens=True, return_offsets_mapping=True, **options)
    assert plain.input_ids == [2, 6, 3, 7, 10, 3]
    assert plain.overflowing_tokens == [10, 9]
    assert located.pop("offset_mapping") == [(0, 0), (0, 1), (0, 0), (0, 1), (1, 3), (0, 0)]
    assert dict(located) == dict(plain)


def test_split_into_words(wordpiece: Tokenizer) -> None:
    encoded = wordpiece(["私", "分かち", ""], is_split_into_words=True, return_offsets_mapping=True)
    assert encoded.input_ids == [2, 6, 11, 12, 3]
    # Places count from the start of the word.
    assert encoded.offset_mapping == [(0, 0), (0, 1), (0, 2), (2, 3), (0, 0)]
    batch = wordpiece([["私", "は"], ["分かち"]], is_split_into_words=True, return_offsets_mapping=True)
    assert batch.input_ids == [[2, 6, 7, 3], [2, 11, 12, 3]]
    assert batch.offset_mapping[1] == [(0, 0), (0, 2), (2, 3), (0, 0)]


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("ｶﾞ㌔は", [(0, 2), (2, 3), (2, 3), (3, 4)]),
        ("私　[MASK]は", [(0, 1), (2, 8), (8, 9)]),
        ("馬馬は", [(0, 2), (2, 3)]),
        ("分かち", [(0, 2), (2, 3)]),
        (" か\u3099は", [(1, 3), (3, 4)]),
    ],
)
def test_offsets(wordpiece: Tokenizer, text: str, spans: list[tuple[int, int]]) -> None:
    assert wordpiece(text, add_special_tokens=False, return_offsets_mapping=True).offset_mapping == spans


def test_offsets_where_lower_case_is_longer(folder: Path) -> None:
    encoded = build(folder, "character", do_lower_case=True)("aİb", add_special_tokens=False, return_offsets_mapping=1)
    assert encoded.offset_mapping == [(0, 1), (1, 2), (1, 2), (2, 3)]


TRICKY = (
    "私はでか単語分ちｶﾊﾞ\u3099ﾟ㌔ﬁＡａ①İßa\u0301\u0316한ᄒ\u1161\u11abﾡ"
    "👨\u200d👩☺\ufe0f葛\U000e0100 \u3000\u00a0\u2028\t\n\r\x1c#"
)
texts = st.lists(
    st.sampled_from([*TRICKY, *SPECIAL, "分かち", "ABC"]) | st.characters(exclude_categories=["Cs"]), max_size=40
).map("".join)


@given(texts, texts, st.booleans(), st.integers(4, 30))
@pytest.mark.parametrize("lower", [False, True])
@pytest.mark.parametrize("kind", ["wordpiece", "character"])
def test_offsets_of_any_text(
    folder: Path, kind: str, lower: bool, text: str, pair: str, two: bool, longest: int
) -> None:
    tokenizer = build(folder, kind, do_lower_case=lower)
    tokens = tokenizer.tokenize(text)
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    assert encoded.input_ids == tokenizer.convert_tokens_to_ids(tokens)
    spans = encoded.offset_mapping
    assert [start for start, _ in spans] == sorted(start for start, _ in spans)
    assert [end for _, end in spans] == sorted(end for _, end in spans)
    for token, (start, end) in zip(tokens, spans, strict=True):
        assert 0 <= start < end <= len(text)
        if token != "[UNK]":
            source = normalise(text[start:end])
            assert token.removeprefix("##") in (source.lower() if lower and token not in SPECIAL else source)
    # What no token stands for is white space that is no token, or nothing.
    covered = {place for start, end in spans for place in range(start, end)}
    assert not any(normalise(text[place]).strip() for place in set(range(len(text))) - covered)
    # Offsets change nothing else, whatever is cut or filled.
    options: dict[str, Any] = {"truncation": True, "max_length": longest, "padding": "max_length"}
    second = pair if two else None
    plain = tokenizer(text, second, **options)
    located = tokenizer(text, second, return_offsets_mapping=True, **options)
    assert len(located.pop("offset_mapping")) == longest
    assert dict(located) == dict(plain)


# Tokens → text.


def test_decode(wordpiece: Tokenizer, character: Tokenizer) -> None:
    assert wordpiece.decode(wordpiece("私は分かちです。").input_ids, skip_special_tokens=True) == "私は分かちです。"
    assert wordpiece.decode([2, 6, 4, 3]) == "[CLS]私[MASK][SEP]"
    assert wordpiece.batch_decode([[6, 7], [10]]) == ["私は", "単語"]
    assert character.decode(character("私　は").input_ids, skip_special_tokens=True) == "私 は"
    assert wordpiece.convert_tokens_to_string(["##ち", "##"]) == "ち##"


# Added tokens, copies, files.


def test_added_tokens(folder: Path) -> None:
    tokenizer = build(folder, "wordpiece")
    size = tokenizer.vocab_size
    assert tokenizer.tokenize("私は<人名>です")[2:] != ["<人名>", "です"]
    assert tokenizer.add_tokens(["<人名>", "私"]) == 1
    assert tokenizer.add_special_tokens({"extra_special_tokens": ["<地名>"]}) == 1
    assert (tokenizer.vocab_size, len(tokenizer)) == (size, size + 2)
    encoded = tokenizer("私は<人名><地名>です", return_offsets_mapping=True)
    assert encoded.input_ids == [2, 6, 7, size, size + 1, 9, 3]
    assert encoded.offset_mapping[3:5] == [(2, 6), (6, 10)]
    assert tokenizer.decode(encoded.input_ids, skip_special_tokens=True) == "私は<人名>です"


def test_added_tokens_with_conditions(folder: Path) -> None:
    tokenizer = build(folder, "character", do_lower_case=True)
    tokenizer.add_tokens([AddedToken("<x>", lstrip=True, rstrip=True), AddedToken("単語", single_word=True), "<NAME>"])
    assert tokenizer.tokenize("私 <x>  は") == ["私", "<x>", "は"]
    assert tokenizer.tokenize("私単語 単語") == ["私", "単", "語", " ", "単語"]
    # transformers lowers an added token that is no special token; the text may have it in capitals.
    assert tokenizer.tokenize("<Name>は") == ["<name>", "は"]


def test_pickle_and_copies(either: Tokenizer) -> None:
    either = copy.deepcopy(either)
    either.add_tokens(["<人名>"])
    text = "私は<人名>と[MASK]の単語ｶﾞです"
    expected = dict(either(text, return_offsets_mapping=True))
    for twin in (pickle.loads(pickle.dumps(either)), copy.copy(either), copy.deepcopy(either)):
        assert dict(twin(text, return_offsets_mapping=True)) == expected


def test_save_and_load(folder: Path, tmp_path: Path) -> None:
    options = {"do_lower_case": True, "never_split": ["単語"], "model_max_length": 64, "manual_subword_marking": True}
    tokenizer = build(folder, "character", **options)
    tokenizer.add_tokens(["<人名>"])
    tokenizer.save_pretrained(tmp_path)
    assert (tmp_path / "vocab.txt").read_bytes() == (folder / "character.txt").read_bytes()
    for name in ("tokenization.py", "japanese_subwords.py"):
        source = Path(__file__).parents[2] / "stages/words" / name
        assert (tmp_path / name).read_bytes() == source.read_bytes()
    config = json.loads((tmp_path / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert config["auto_map"] == {"AutoTokenizer": ["tokenization.BertJapaneseTinySegmenterTokenizer", None]}
    loaded = Tokenizer.from_pretrained(tmp_path)
    text = "私は<人名>と[MASK]の単語ABCです"
    assert loaded.tokenize(text) == tokenizer.tokenize(text)
    assert dict(loaded(text)) == dict(tokenizer(text))
    assert {name: getattr(loaded, name) for name in options} == options


def test_what_the_constructor_refuses(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no vocabulary file .*absent\.txt"):
        Tokenizer(tmp_path / "absent.txt")
    (tmp_path / "vocab.txt").write_text("hello\n")
    with pytest.raises(ValueError, match=r"vocab.txt has no \[PAD\]"):
        Tokenizer(tmp_path / "vocab.txt")
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n")
    with pytest.raises(ValueError, match="'sentencepiece'; it must be one of wordpiece, character"):
        Tokenizer(tmp_path / "vocab.txt", subword_tokenizer_type="sentencepiece")
    (tmp_path / "vocab.txt").unlink()
    (tmp_path / "tokenizer_config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"no vocabulary file vocab\.txt"):
        Tokenizer.from_pretrained(tmp_path)
