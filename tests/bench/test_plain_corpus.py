"""The yardstick of the corpus stage keeps the stage's rules: the same bytes on text that meets each of them."""

import gzip
import json
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    {
        "title": "京都",
        "text": "日本 > 京都 京都は日本の都市である。[12]古い都だった[要出典]という。{{要検証}}ほんとうですか？",
    },
    {"title": "脚注", "text": "この文には脚注がついています。 ^ 脚注はここから後ろにあります。"},
    {"title": "幅", "text": "ＡＢＣと㌔は正規化されるはずである！\u200b見えない文字は消える。短い。"},
    {"title": "長", "text": "長" * 250 + "。" + "文" * 249 + "。" + "十文字ちょうどの文だ。"},
    {"title": "数式", "text": "式は {\\displaystyle x} であるとされる。疑問[誰によって?]がここに残る文です。"},
    {"title": "空", "text": "", "namespace": 0},
    {"title": "転送", "text": "転送のページは残らないはずです。", "page_type": "redirect"},
    {"title": "他", "text": "記事ではない名前空間のページです。", "namespace": 4},
]


def test_the_same_bytes(run_stage: Any, tmp_path: Path) -> None:
    dump = tmp_path / "dump.json.gz"
    with gzip.open(dump, "wt", encoding="utf-8") as stream:
        for number, document in enumerate(DOCUMENTS):
            stream.write(json.dumps({"index": {"_type": "_doc", "_id": str(number)}}) + "\n")
            stream.write(json.dumps(document) + "\n")
    run_stage("corpus", "--dump", dump, "--out", tmp_path / "ours", "--shards", 2)
    python = ROOT / ".venv" / "corpus" / "bin" / "python"
    plain = [python, "-m", "scripts.bench.measured", "plain_corpus", dump, tmp_path / "plain", "2"]
    kept = subprocess.run(
        [str(word) for word in plain], cwd=ROOT, capture_output=True, check=True, encoding="utf-8"
    ).stdout
    made = json.loads((tmp_path / "ours/manifest.json").read_text())
    assert int(kept) == made["counts"]["characters_kept"] > 300
    for name in made["files"]:
        assert (tmp_path / "plain" / name).read_bytes() == (tmp_path / "ours" / name).read_bytes()
