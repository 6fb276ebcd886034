"""`make torture`: it survives here, and where a promise is broken it ends with 1, the seed and what differed."""

import random
from pathlib import Path

import pytest

from tests.torture import __main__ as torture
from tests.torture.faults import Case, Survived
from tests.torture.runs import finish, python


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    if not python("corpus").exists():
        pytest.skip(f"{python('corpus')} is missing; run make venv")
    monkeypatch.setattr(torture, "ARTICLES", 300)


def test_random_faults_are_survived_and_counted(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    torture.main(["--seed", "7", "--rounds", "6", "--only", "corpus", "--out", str(tmp_path / "torture")])
    out, err = capfd.readouterr()
    assert "torture: --seed 7\n" in err
    assert "torture: 6 faults survived in" in err
    assert out.splitlines()[0] == "| fault | stage | injected | ended | files compared |"
    assert out.splitlines()[-1].startswith("| all | | 6 | | ")
    assert not (tmp_path / "torture").exists(), "nothing is kept where all went well"


def test_the_same_seed_does_the_same_to_the_same_stages() -> None:
    dealt = [torture.deck(100, {*torture.ALL, "convert", "tpu-train"}, "", random.Random(seed)) for seed in (1, 1, 2)]
    assert dealt[0] == dealt[1] != dealt[2]
    assert sum(fault.startswith("kill -9") for fault, _ in dealt[0]) == 50
    assert {stage for _, stage in dealt[0]} == {*torture.ALL, "convert", "tpu-train"}


def left_over(out: Path) -> None:
    (out / ".input.partial").touch()


def other_byte(out: Path) -> None:
    data = bytearray((out / "corpus_00003.txt").read_bytes())
    data[7] ^= 1
    (out / "corpus_00003.txt").write_bytes(data)


def not_there(out: Path) -> None:
    (out / "corpus_00003.txt").unlink()


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (left_over, "has left over: .input.partial; lacks: nothing"),
        (other_byte, "these are not the bytes of an undisturbed run: corpus_00003.txt ("),
        (not_there, "has left over: nothing; lacks: corpus_00003.txt"),
    ],
)
def test_a_broken_promise_is_told_with_its_seed_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], harm: object, said: str
) -> None:
    def harmful(case: Case) -> Survived:
        finish("corpus", case.command.line(case.out))
        harm(case.out)  # type: ignore[operator]
        return case.survived("not seen")

    monkeypatch.setattr(torture, "DECK", {"harm": (harmful, 1, ("corpus",))})
    with pytest.raises(SystemExit) as ended:
        torture.main(["--seed", "7", "--rounds", "1", "--out", str(tmp_path / "torture")])
    assert ended.value.code == 1
    err = capfd.readouterr().err
    assert said in err
    assert "--seed 7 --rounds 1 does it again" in err
    (kept,) = (tmp_path / "torture").glob("7-*/round-1/out")
    assert (kept / "manifest.json").exists()
