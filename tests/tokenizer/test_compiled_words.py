"""The compiled rules give what the package and the plain rules give, on every text."""

import copy
import gzip
import itertools
import pickle
import random
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import tinysegmenter.tinysegmenter as package
from hypothesis import example, given
from hypothesis import strategies as st

from stages.compiled import NotCompiled, library, library_path
from stages.words.compiled_words import SOURCE, CompiledVocabulary, WordCounts, code_points, segment
from stages.words.japanese_subwords import SPECIAL_TOKENS, normalise, split_words, word_spans, wordpieces
from stages.words.tokenization import BertJapaneseTinySegmenterTokenizer

ROOT = Path(__file__).resolve().parents[2]


def words(texts: list[str]) -> list[list[str]]:
    """The pieces of each text."""
    given = code_points(texts)
    begins = segment(given).tolist()
    found, start = [], 0
    for text, end in zip(texts, given.ends.tolist(), strict=True):
        cuts = [place for place in range(len(text)) if begins[start + place]] + [len(text)]
        found.append([text[a:b] for a, b in itertools.pairwise(cuts)])
        start = end
    return found


def keys() -> list[str]:
    """Every key of the package's tables over characters, those that can never match included."""
    names = [name for name in vars(package) if name[1:3] in ("UW", "BW", "TW")]
    assert len(names) == 13
    return sorted({key for name in names for key in vars(package)[name]})


# All planes, what the tables know, and what looks like the marks before and behind a text.
characters = st.characters(exclude_categories=["Cs"])
fragments = st.sampled_from([*keys(), "B1", "B2", "B3", "E1", "E2", "E3", "Ｅ１", "Ｂ１あ", "市", " ", "\u3000", "\n"])
texts = st.lists(fragments | characters, max_size=12).map("".join)


@given(st.lists(texts, max_size=4))
@example(["", "あ", "", "B1E1", "E1", "市"])
def test_words_are_the_packages(given: list[str]) -> None:
    assert words(given) == [package.tokenize(text) for text in given]


def test_words_of_a_hundred_thousand_random_texts() -> None:
    generator = random.Random(20)
    known = [*keys(), *map(chr, range(0x3041, 0x30FF)), *map(chr, range(0x4E00, 0x5200)), *"一二三千万ABCxyz019。、 "]
    planes = [chr(point) for point in generator.choices(range(0x110000), k=4000) if not 0xD800 <= point < 0xE000]
    pool = [*known * 3, *planes]
    given = ["".join(generator.choices(pool, k=generator.randrange(9))) for _ in range(100_000)]
    assert words(given) == [package.tokenize(text) for text in given]


def test_words_of_real_sentences(shared_data: Path, corpus: Path) -> None:
    lines = [line for shard in sorted(corpus.glob("*.txt")) for line in shard.read_text("utf-8").splitlines()]
    (dump,) = shared_data.glob("*.json.gz")
    with gzip.open(dump, "rt", encoding="utf-8") as stream:
        lines += [normalise(line) for line, _ in zip(stream, range(150), strict=False)]
    assert words(lines) == [package.tokenize(line) for line in lines]


def test_a_line_of_a_million_characters() -> None:
    line = "単語単位で分かち書きをします。Ａ１" * 60_000
    assert len(line) > 1_000_000
    assert words([line]) == [package.tokenize(line)]


def test_nothing_to_split() -> None:
    assert words([]) == []
    assert words(["", ""]) == [[], []]
    assert words(["字"]) == [["字"]]


def test_a_lone_surrogate_is_no_text() -> None:
    with pytest.raises(ValueError, match="surrogates"):
        code_points(["あ", "い\ud800"])


pieces = st.text("分かちA京 #", min_size=1, max_size=4)
vocabularies = st.sets(pieces | pieces.map("##".__add__), max_size=30)
plain_texts = st.lists(st.sampled_from(["分", "か", "ち", "A", "京", "#", "##", "##か", " ", "\t", "都"]), max_size=10)


@given(vocabularies, st.lists(plain_texts.map("".join), max_size=3))
@example({"##", "#", "##か", "A"}, ["##か", "#A", "A##か"])
def test_tokens_are_those_of_the_plain_rules(entries: set[str], given: list[str]) -> None:
    vocabulary = {entry: number for number, entry in enumerate([*SPECIAL_TOKENS, *sorted(entries)])}
    made = code_points(given)
    begins = segment(made)
    for by_character in (False, True):
        spaces = frozenset(entry for entry in vocabulary if by_character and entry.isspace() and len(entry) == 1)
        expected: list[tuple[int, bool, int, int]] = []
        ends, offset = [], 0
        for text in given:
            for start, end in word_spans(text, spaces):
                word = text[start:end]
                found = list(word) if by_character else wordpieces(word, vocabulary)
                at = start
                for piece in found or [word]:
                    token = piece if found is not None else "[UNK]"
                    length = len(piece) - 2 * (not by_character and at > start)
                    expected.append((vocabulary.get(token, 1), at == start, offset + at, offset + at + length))
                    at += length
            offset += len(text)
            ends.append(len(expected))
        compiled = CompiledVocabulary(vocabulary, by_character)
        tokens = compiled.look_up(made, begins, places=True)
        assert tokens.starts is not None
        assert tokens.stops is not None
        columns = (tokens.ids, tokens.first, tokens.starts, tokens.stops)
        assert list(zip(*(column.tolist() for column in columns), strict=True)) == expected
        assert tokens.ends.tolist() == ends
        for text, start, end in zip(given, [0, *ends], ends, strict=False):
            ids, starts, stops, firsts = compiled.look_up_text(text)
            assert ids == tokens.ids[start:end].tolist()
            assert firsts == tokens.first[start:end].tolist()
            assert [text[a:b] for a, b in zip(starts, stops, strict=True)] == [
                "".join(given)[a:b] for _, _, a, b in expected[start:end]
            ]


def test_a_word_of_more_than_a_hundred_characters_is_unknown() -> None:
    vocabulary = {entry: number for number, entry in enumerate([*SPECIAL_TOKENS, "a", "##a"])}
    compiled = CompiledVocabulary(vocabulary, by_character=False)
    assert compiled.look_up_text("a" * 100, whole=True)[0] == [5] + [6] * 99
    assert compiled.look_up_text("a" * 101, whole=True) == ([1], [0], [101], [1])


@given(st.lists(texts, max_size=5), st.lists(texts, max_size=5))
def test_words_are_counted(first: list[str], second: list[str]) -> None:
    counts = WordCounts()
    for part in (first, second):
        made = code_points(part)
        counts.add(made, segment(made))
    expected = Counter(word for text in first + second for word in split_words(text))
    assert dict(counts.items()) == {word: number for word, number in expected.items() if len(word) <= 100}


def test_many_different_words_are_counted() -> None:
    generator = random.Random(4)
    given = ["".join(generator.choices("アイウエオカキクケコ", k=generator.randrange(1, 130))) for _ in range(10_000)]
    counts = WordCounts()
    made = code_points(given)
    counts.add(made, segment(made))
    expected = Counter(word for text in given for word in split_words(text) if len(word) <= 100)
    assert dict(counts.items()) == expected
    assert len(expected) > 5_000, "more than the first table holds"


# The class: with and without what is compiled.

Tokenizer = BertJapaneseTinySegmenterTokenizer


@pytest.fixture(scope="module", params=["wordpiece", "character"])
def pair(request: pytest.FixtureRequest, vocab: Path) -> tuple[Tokenizer, Tokenizer]:
    """A tokenizer, and the same one without compiled rules."""
    folder = {"wordpiece": "wordpiece_tinysegmenter"}.get(request.param, request.param)
    fast = Tokenizer(vocab / folder / "vocab.txt", subword_tokenizer_type=request.param, model_max_length=12)
    slow = copy.deepcopy(fast)
    slow.rules.compiled = None
    assert fast.rules.compiled is not None
    return fast, slow


marked = st.lists(fragments | characters | st.sampled_from(["[MASK]", "[SEP]", "[UNK]", "春の山", "ｶﾞ㌔"]), max_size=9)
OPTIONS: list[dict[str, Any]] = [
    {},
    {"add_special_tokens": False},
    {"split_special_tokens": True},
    {"padding": True},
    {"padding": "longest", "pad_to_multiple_of": 8, "padding_side": "left", "return_length": True},
    {"padding": "max_length", "max_length": 6, "truncation": True},
    {"padding": "max_length"},
    {"truncation": True, "max_length": 1, "verbose": False},
    {"truncation": "only_first", "max_length": 4, "add_special_tokens": False, "return_length": True},
    {"return_attention_mask": False, "return_token_type_ids": False},
    {"padding": True, "return_tensors": "np"},
    {"padding": True, "return_attention_mask": False},
    {"return_special_tokens_mask": True},
    {"truncation": True, "max_length": 4, "return_overflowing_tokens": True},
    {"return_offsets_mapping": True},
    {
        "return_offsets_mapping": True,
        "padding": "max_length",
        "truncation": True,
        "max_length": 5,
        "return_length": True,
    },
    {"return_offsets_mapping": True, "add_special_tokens": False, "padding": True, "padding_side": "left"},
]


@given(given=st.lists(marked.map("".join), min_size=1, max_size=4))
def test_every_result_of_the_class_is_the_same(pair: tuple[Tokenizer, Tokenizer], given: list[str]) -> None:
    fast, slow = pair
    assert [fast.tokenize(text) for text in given] == [slow.tokenize(text) for text in given]
    for options in OPTIONS:
        # transformers fails where some texts of a batch overflow and some do not.
        inputs: list[Any] = [*given] if options.get("return_overflowing_tokens") else [*given, given]
        for text in inputs:
            a, b = fast(text, **options), slow(text, **options)
            assert list(a) == list(b), options
            for name in a:
                assert type(a[name]) is type(b[name]), options
                assert (a[name] == b[name]) is True or (a[name] == b[name]).all(), (options, name)


@pytest.mark.parametrize("compiled", [True, False])
def test_the_class_refuses_a_lone_surrogate(pair: tuple[Tokenizer, Tokenizer], compiled: bool) -> None:
    tokenizer = pair[0] if compiled else pair[1]
    for wrong in ("いろ\udc80は", ["い", "いろ\udc80は"]):
        with pytest.raises(ValueError, match=r"character 2 of the text is a lone surrogate \(U\+DC80\)"):
            tokenizer(wrong)
    with pytest.raises(ValueError, match="lone surrogate"):
        tokenizer.tokenize("\ud800")


def test_copies_are_compiled_too(pair: tuple[Tokenizer, Tokenizer]) -> None:
    fast, _ = pair
    for other in (copy.deepcopy(fast), pickle.loads(pickle.dumps(fast))):
        assert other.rules.compiled is not None
        assert other("春の山")["input_ids"] == fast("春の山")["input_ids"]


def test_several_threads_at_once(pair: tuple[Tokenizer, Tokenizer]) -> None:
    fast, slow = pair
    given = [f"第{number}回の春の山の祭り。" for number in range(200)]
    expected = slow(given)["input_ids"]
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(fast(given)["input_ids"])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4


@pytest.mark.parametrize(
    "options", [{"do_lower_case": True}, {"do_subword_tokenize": False}, {"manual_subword_marking": True}]
)
def test_options_that_are_not_compiled(vocab: Path, options: dict[str, Any]) -> None:
    assert (
        Tokenizer(vocab / "character/vocab.txt", subword_tokenizer_type="character", **options).rules.compiled is None
    )


@pytest.mark.parametrize("changed", ["words.c", "words.h"])
def test_a_library_of_other_code_is_never_loaded(tmp_path: Path, changed: str) -> None:
    for name in ("words.c", "words.h"):
        (tmp_path / name).write_bytes((Path(SOURCE).parent / name).read_bytes())
    source = str(tmp_path / "words.c")
    Path(library_path(source)).write_bytes(Path(library_path(SOURCE)).read_bytes())
    assert library(source).segment
    (tmp_path / changed).write_text((tmp_path / changed).read_text() + "\n")
    library.cache_clear()
    with pytest.raises(NotCompiled, match=r"words.c is not compiled for this machine .* make venv compiles it"):
        library(source)
