"""The command: lines in, lines out, and what it refuses."""

import json
import os
import select
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stages.tokenizer.model_folder import write_tokenizer

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
        },
        {"input_ids": [2, 3], "tokens": ["[CLS]", "[SEP]"], "offsets": [[0, 0], [0, 0]]},
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
        (["encode"], "required: --model"),
        (["encode", "--model", "m", "--max-length", "2"], "--max-length is 2; it must be 3 or more"),
        ([], "required: tokenize|encode"),
    ],
)
def test_refused_flags(run_stage: Run, flags: list[str], message: str) -> None:
    assert message in run_stage("tokenizer", *flags, code=2).stderr


def test_refused_file(run_stage: Run, models: Path) -> None:
    flags = ["tokenize", "--model", models / "wordpiece", "/no/such/text"]
    assert "cannot read /no/such/text: No such file" in run_stage("tokenizer", *flags, code=2).stderr
