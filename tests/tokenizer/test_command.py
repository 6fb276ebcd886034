"""The command: lines in, lines out, and what it refuses."""

import json
import os
import random
import re
import select
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stages.words.japanese_subwords import normalise
from stages.words.model_folder import write_tokenizer

ROOT = Path(__file__).parents[2]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", " ", *"私はとでキロ", "です", "単語", "##ロ"]
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("".join(entry + "\n" for entry in VOCABULARY), encoding="utf-8", newline="\n")
    for kind in ("wordpiece", "character"):
        write_tokenizer(folder / kind, vocabulary, kind)
    return folder


def command(*arguments: object, **options: Any) -> "subprocess.Popen[bytes]":
    python = ROOT / ".venv/tokenizer/bin/python"
    if not python.exists():
        pytest.skip(f"{python} is missing; run make venv")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    words = [str(python), "-m", "stages.tokenizer", *map(str, arguments)]
    return subprocess.Popen(words, cwd=ROOT, **{**pipes, **options})


LINES = "私は単語です\n\n私は[MASK]と[SEP]です\r\n㌔\u2028は\x0bと\x1c\r私　は\n馬" + "は" * 20_000


def test_tokenize_gives_a_line_for_a_line(run_stage: Run, models: Path) -> None:
    done = run_stage("tokenizer", "tokenize", "--model", models / "wordpiece", stdin=LINES)
    assert done.stderr == ""
    lines = done.stdout.split("\n")
    assert lines[:4] == ["私 は 単語 です", "", "私 は [MASK] と [SEP] です", "キ ##ロ は と 私 は"]
    assert len(lines) == 6
    assert lines[4].startswith("[UNK]")
    assert lines[5] == ""


def test_the_model_folder_says_which_subwords(run_stage: Run, models: Path, tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("私は単語です\n", encoding="utf-8")
    (tmp_path / "two.txt").write_text("㌔　は", encoding="utf-8")
    files = [tmp_path / "one.txt", "-", tmp_path / "two.txt"]
    done = run_stage("tokenizer", "tokenize", "--model", models / "character", *files, stdin="と\n")
    assert done.stdout == "私 は [UNK] [UNK] で [UNK]\nと\nキ ロ   は\n"


def test_encode(run_stage: Run, models: Path) -> None:
    done = run_stage("tokenizer", "encode", "--model", models / "wordpiece", stdin="㌔は\n\n")
    assert done.stderr == ""
    assert "キ" in done.stdout
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {
            "input_ids": [2, 10, 14, 7, 3],
            "tokens": ["[CLS]", "キ", "##ロ", "は", "[SEP]"],
            "offsets": [[0, 0], [0, 1], [0, 1], [1, 2], [0, 0]],
            "word_ids": [None, 0, 0, 1, None],
        },
        {"input_ids": [2, 3], "tokens": ["[CLS]", "[SEP]"], "offsets": [[0, 0], [0, 0]], "word_ids": [None, None]},
    ]


def test_encode_flags(run_stage: Run, models: Path) -> None:
    flags = ["encode", "--model", models / "wordpiece", "--no-special-tokens", "--max-length", "2"]
    done = run_stage("tokenizer", *flags, stdin="私は単語です\n\n")
    assert [json.loads(line)["tokens"] for line in done.stdout.splitlines()] == [["私", "は"], []]


def test_texts_longer_than_the_model_takes(run_stage: Run, models: Path) -> None:
    done = run_stage("tokenizer", "encode", "--model", models / "character", stdin="は" * 100_000)
    assert done.stderr == ""
    assert len(json.loads(done.stdout)["input_ids"]) == 100_002


def test_a_line_is_answered_at_once(models: Path) -> None:
    with command("tokenize", "--model", models / "wordpiece") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for line, tokens in (("私は\n", "私 は\n"), ("です\n", "です\n")):
            process.stdin.write(line.encode())
            process.stdin.flush()
            assert select.select([process.stdout], [], [], 60)[0], "no answer within a minute"
            assert os.read(process.stdout.fileno(), 100).decode() == tokens
        process.stdin.close()
        assert process.wait() == 0


def test_reader_gone(models: Path) -> None:
    text = "私は単語です\n" * 50_000
    with command("tokenize", "--model", models / "wordpiece", "-", stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        try:
            process.stdin.write(text.encode())
            process.stdin.close()
        except BrokenPipeError:
            pass
        assert process.stderr.read() == b""
        assert process.wait() == 0


def test_no_home_no_network_no_cache(models: Path, tmp_path: Path) -> None:
    """As in the image: no HOME to write to, and nothing said on standard error."""
    environment = {"HOME": "/nonexistent", "PATH": "", "LC_ALL": "C", "PYTHONDONTWRITEBYTECODE": "1"}
    process = command("tokenize", "--model", models / "wordpiece", env=environment)
    assert process.communicate("私は\n".encode()) == ("私 は\n".encode(), b"")
    assert process.returncode == 0
    assert not os.path.exists("/nonexistent")


def test_code_in_the_model_folder_is_not_run(run_stage: Run, models: Path, tmp_path: Path) -> None:
    write_tokenizer(tmp_path / "model", models / "vocab.txt", "wordpiece")
    trap = f"open({str(tmp_path / 'sprung')!r}, 'w')\n"
    for name in ("tokenization.py", "japanese_subwords.py"):
        (tmp_path / "model" / name).write_text(trap)
    assert run_stage("tokenizer", "tokenize", "--model", tmp_path / "model", stdin="私は").stdout == "私 は\n"
    assert not (tmp_path / "sprung").exists()


def test_bad_utf8_is_named_after_the_lines_before(models: Path, tmp_path: Path) -> None:
    process = command("tokenize", "--model", models / "wordpiece")
    out, err = process.communicate("私は\nです".encode() + b"\xff\n")
    assert (out.decode(), process.returncode) == ("私 は\n", 2)
    assert err.decode().startswith("tokenizer: error: standard input, line 2, byte 7 (0xff): not UTF-8")
    (tmp_path / "bad.txt").write_bytes(b"\x80")
    process = command("tokenize", "--model", models / "wordpiece", tmp_path / "bad.txt")
    assert f"{tmp_path}/bad.txt, line 1, byte 1 (0x80): not UTF-8" in process.communicate()[1].decode()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vocab.txt": None}, "has no vocab.txt; make convert writes one"),
        ({"tokenizer_config.json": None}, "has no tokenizer_config.json; make convert writes one"),
        ({"tokenizer_config.json": "{"}, "tokenizer_config.json is not JSON"),
        ({"tokenizer_config.json": '{"tokenizer_class": "BertTokenizer"}'}, "names the tokenizer BertTokenizer"),
        ({"vocab.txt": "hello\n"}, "vocab.txt has no [PAD] [UNK]"),
    ],
)
def test_what_is_no_model_folder(
    run_stage: Run, models: Path, tmp_path: Path, change: dict[str, str | None], message: str
) -> None:
    folder = tmp_path / "model"
    write_tokenizer(folder, models / "vocab.txt", "wordpiece")
    for name, content in change.items():
        if content is None:
            (folder / name).unlink()
        else:
            (folder / name).write_text(content)
    assert message in run_stage("tokenizer", "tokenize", "--model", folder, stdin="", code=2).stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["tokenize", "--model", "/no/such/model"], "there is no model folder /no/such/model; make convert writes one"),
        (["tokenise", "--model", "m"], "invalid choice: 'tokenise'"),
        (["decode", "--model", "m", "--from", "jsonl"], "unrecognized arguments: --from"),
        (["fill-mask", "--model", "m", "--top-k", "0"], "--top-k: 0 is no whole number of 1 or more"),
        (["encode", "--model", "m", "--max-length", "2"], "--max-length is 2; it must be 3 or more"),
        ([], "required: tokenize|encode|decode|fill-mask"),
    ],
)
def test_refused_flags(run_stage: Run, flags: list[str], message: str) -> None:
    assert message in run_stage("tokenizer", *flags, code=2).stderr


def test_refused_file(run_stage: Run, models: Path) -> None:
    flags = ["tokenize", "--model", models / "wordpiece", "/no/such/text"]
    assert "cannot read /no/such/text: No such file" in run_stage("tokenizer", *flags, code=2).stderr


def test_json_lines_keep_what_else_is_in_them(run_stage: Run, models: Path) -> None:
    lines = '{"id": 1, "text": "私は\\nです"}\n"単語"\n{"text": "", "tokens": "replaced"}\n'
    flags = ["--model", models / "wordpiece", "--from", "jsonl", "--to", "jsonl"]
    answers = [json.loads(line) for line in run_stage("tokenizer", "tokenize", *flags, stdin=lines).stdout.splitlines()]
    assert answers == [
        {"id": 1, "text": "私は\nです", "tokens": ["私", "は", "です"]},
        {"text": "単語", "tokens": ["単語"]},
        {"text": "", "tokens": []},
    ]
    assert run_stage("tokenizer", "encode", *flags[:-1], "text", stdin='"私は"\n').stdout == "2 6 7 3\n"


@pytest.mark.parametrize("line", ["{", "[1]", "3", '{"txt": "a"}', '{"text": 1}', '"\\ud800"', ""])
def test_lines_that_are_no_json_texts_are_named(run_stage: Run, models: Path, line: str) -> None:
    flags = ["tokenize", "--model", models / "wordpiece", "--from", "jsonl"]
    refused = run_stage("tokenizer", *flags, stdin=f'"私"\n{line}\n', code=2)
    assert refused.stdout == "私\n"
    assert refused.stderr.startswith("tokenizer: error: standard input, line 2")


@pytest.mark.parametrize("ids", ["2 6 7 4 12 3", "[2, 6, 7, 4, 12, 3]", '{"input_ids": [2, 6, 7, 4, 12, 3], "x": 1}'])
def test_decode(run_stage: Run, models: Path, ids: str) -> None:
    flags = ["decode", "--model", models / "wordpiece"]
    assert run_stage("tokenizer", *flags, stdin=ids + "\n\n").stdout == "私はです\n\n"
    kept = run_stage("tokenizer", *flags, "--keep-special-tokens", "--to", "jsonl", stdin=ids).stdout
    assert json.loads(kept) == {"text": "[CLS]私は[MASK]です[SEP]"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2 x", "no ids; decode reads"),
        ("2 -1", "no ids"),
        ("[2, 1.5]", "no ids"),
        ("[true]", "no ids"),
        ('{"ids": [2]}', "no ids"),
        ("[2", "is not JSON"),
        ("2 99", "id 99 at place 1 is none of 0 to 14"),
        ("２", "no ids"),
    ],
)
def test_lines_that_are_no_ids_are_named(run_stage: Run, models: Path, line: str, message: str) -> None:
    refused = run_stage("tokenizer", "decode", "--model", models / "wordpiece", stdin=f"6\n{line}\n", code=2)
    assert refused.stdout == "私\n"
    assert refused.stderr.startswith("tokenizer: error: standard input, line 2")
    assert message in refused.stderr


def test_encode_and_decode_a_pipe_of_both(run_stage: Run, models: Path) -> None:
    encoded = run_stage("tokenizer", "encode", "--model", models / "character", stdin="私は単語\n").stdout
    assert run_stage("tokenizer", "decode", "--model", models / "character", stdin=encoded).stdout == "私は\n"


def test_a_line_of_10_mb_and_one_that_is_too_long(run_stage: Run, models: Path) -> None:
    flags = ["tokenize", "--model", models / "wordpiece"]
    made = run_stage("tokenizer", *flags, stdin="私は" * 1_700_000).stdout
    assert made.startswith("私 は 私")
    assert len(made) == 4 * 1_700_000
    refused = run_stage("tokenizer", *flags, stdin="私\n" + "は" * 6_000_000, code=2)
    assert "standard input, line 2: over 16 MiB without an end" in refused.stderr


def test_endless_input_takes_no_more_memory(models: Path) -> None:
    process = command("tokenize", "--model", models / "wordpiece", stdout=subprocess.DEVNULL)
    assert process.stdin is not None
    block = "私は単語です。\n".encode() * 20_000
    sizes = []
    for _ in range(40):
        process.stdin.write(block)
        process.stdin.flush()
        pages = Path(f"/proc/{process.pid}/statm").read_text().split()[1]
        sizes.append(int(pages) * os.sysconf("SC_PAGE_SIZE"))
    process.communicate()
    assert process.returncode == 0
    assert max(sizes[20:]) < max(sizes[5:20]) + (2 << 20)


def test_masks_are_filled_as_pytorch_fills_them(run_stage: Run, models_with_onnx: Path) -> None:
    said = json.loads((models_with_onnx / "filled.json").read_text(encoding="utf-8"))
    for model, expected in said["filled"].items():
        flags = ["fill-mask", "--model", models_with_onnx / model, "--to", "jsonl"]
        lines = run_stage("tokenizer", *flags, stdin="\n".join(said["texts"])).stdout.splitlines()
        for text, line, masks in zip(said["texts"], lines, expected, strict=True):
            found = json.loads(line)["masks"]
            assert [text[mask["start"] : mask["end"]] for mask in found] == ["[MASK]"] * len(masks)
            for mask, fills in zip(found, masks, strict=True):
                assert [fill["token"] for fill in mask["fills"]] == [token for token, _ in fills]
                assert [fill["score"] for fill in mask["fills"]] == pytest.approx([s for _, s in fills], abs=1e-5)


def test_fill_mask_as_text_and_what_it_refuses(run_stage: Run, models_with_onnx: Path, models: Path) -> None:
    flags = ["fill-mask", "--model", models_with_onnx / "character/tiny"]
    [line] = run_stage("tokenizer", *flags, "--top-k", 2, stdin="山と[MASK]と[MASK]").stdout.splitlines()
    assert [len(mask.split(" ")) for mask in line.split("\t")] == [4, 4]
    stopped = run_stage("tokenizer", *flags, stdin="[MASK]\n山\n", code=2)
    assert "standard input, line 2: there is no [MASK] in the text" in stopped.stderr
    assert stopped.stdout.count("\n") == 1
    refused = run_stage("tokenizer", *flags, stdin="[MASK]" + "山" * 62, code=2).stderr
    assert "line 1: 65 tokens, and the model takes 64 with [CLS] and [SEP]" in refused
    refused = run_stage("tokenizer", "fill-mask", "--model", models / "wordpiece", stdin="[MASK]", code=2).stderr
    assert "has no model.onnx, which fills masks; make convert writes one" in refused


def test_random_bytes_are_refused_or_read_and_offsets_lead_back(models: Path) -> None:
    source = random.Random(7)
    for command_ in ("tokenize", "encode", "decode"):
        for given in (source.randbytes(300_000), b"\n".join(source.randbytes(3) for _ in range(1000))):
            process = command(command_, "--model", models / "wordpiece")
            _, err = process.communicate(given)
            assert process.returncode == 2
            assert re.match(rb"tokenizer: error: standard input, line \d+.*\n$", err), err
    texts = [source.randbytes(200).decode(errors="replace").replace("\n", " ") for _ in range(500)]
    texts += ["".join(chr(source.choice([n, n + 0x10000, 0x1F300 + n % 500])) for n in range(0x3000, 0x3100))]
    for kind in ("wordpiece", "character"):
        process = command("encode", "--model", models / kind)
        out, err = process.communicate("\n".join(texts).encode())
        assert (process.returncode, err) == (0, b"")
        for text, line in zip(texts, out.decode().split("\n"), strict=False):
            row = json.loads(line)
            for token, (start, end), word in zip(row["tokens"], row["offsets"], row["word_ids"], strict=True):
                assert (word is None) == (start == end == 0)
                assert word is None or token == "[UNK]" or token.removeprefix("##") in normalise(text[start:end])
