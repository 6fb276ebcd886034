"""Who imports whom: no stage another stage, a room only what is below it."""

import re
from pathlib import Path

import pytest

STAGES = Path(__file__).resolve().parents[2] / "stages"
FOLDERS = sorted(path.parent.name for path in STAGES.glob("*/__init__.py"))
# A room → the rooms below it.
ROOMS = {
    "command": set(),
    "handover": {"command"},
    "engine": {"command"},
    "words": {"command", "handover"},
    "formats": {"command", "handover", "words"},
}


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_imports_itself_and_rooms_below_it(folder: str) -> None:
    allowed = ROOMS.get(folder, set(ROOMS)) | {folder}
    for module in (STAGES / folder).rglob("*.py"):
        imported = re.findall(r"^\s*(?:from|import) stages\.(\w+)", module.read_text(), re.MULTILINE)
        assert {*imported} & {*FOLDERS} <= allowed, module


def test_a_module_beside_the_folders_imports_no_stage() -> None:
    for module in STAGES.glob("*.py"):
        imported = re.findall(r"^\s*(?:from|import) stages\.(\w+)", module.read_text(), re.MULTILINE)
        assert {*imported} & {*FOLDERS} <= {"command", "handover"}, module
