"""A few hand-written examples in the form of each task's files, and how to write such files."""

import json
from pathlib import Path
from typing import Any

PAIRS = [
    ("犬が公園を走っています。", "公園で犬が走っている。"),
    ("子どもが海で泳いでいます。", "海に人はいません。"),
    ("赤い電車が駅に止まった。", "駅前に古い本屋がある。"),
    ("猫が窓のそばで寝ている。", "猫は眠っています。"),
    ("男の人が料理をしている。", "台所には誰もいない。"),
    ("山の上に雪が積もっている。", "明日は試験がある。"),
    ("女の子が絵を描いている。", "少女が絵をかいています。"),
    ("机の上に本が三冊ある。", "机には何も置かれていない。"),
]
NLI = [
    "entailment",
    "contradiction",
    "neutral",
    "entailment",
    "contradiction",
    "neutral",
    "entailment",
    "contradiction",
]
LABELS = [4.6, 0.8, 0.0, 4.2, 0.6, 0.0, 4.8, 0.4]

JNLI = [
    {"sentence_pair_id": str(n), "yjcaptions_id": f"{n}-1-2", "sentence1": a, "sentence2": b, "label": label}
    for n, ((a, b), label) in enumerate(zip(PAIRS, NLI, strict=True))
]
JSTS: list[dict[str, Any]] = [{**pair, "label": label} for pair, label in zip(JNLI, LABELS, strict=True)]
JCOMMONSENSEQA = [
    {"q_id": n, "question": question, **{f"choice{k}": choice for k, choice in enumerate(choices)}, "label": label}
    for n, (question, choices, label) in enumerate(
        [
            ("空から落ちてくる水は？", ["雨", "石", "靴", "時計", "橋"], 0),
            ("本を借りる所は？", ["駅", "図書館", "畑", "港", "工場"], 1),
            ("夜の空に光るものは？", ["机", "魚", "星", "道", "米"], 2),
            ("パンを焼く人は？", ["医者", "漁師", "警官", "パン屋", "先生"], 3),
            ("冬に降る白いものは？", ["砂", "塩", "紙", "煙", "雪"], 4),
        ]
    )
]
MARC_JA = [
    {"review_id": f"R{n}", "sentence": sentence, "label": label}
    for n, (sentence, label) in enumerate(
        [
            ("とても使いやすく、買ってよかったです。", "positive"),
            ("三日で壊れました。お金を返してほしい。", "negative"),
            ("音がきれいで気に入っています。", "positive"),
            ("説明と違う色が届き、がっかりした。", "negative"),
        ]
    )
]
JSICK: list[dict[str, Any]] = [
    {"pair_ID": pair["sentence_pair_id"], "data": "", "sentence_A_Ja": pair["sentence1"]}
    | {"sentence_B_Ja": pair["sentence2"], "entailment_label_Ja": pair["label"], "relatedness_score_Ja": "3.2"}
    for pair in JNLI
]


def sentence(page: int, text: str, **names: str) -> dict[str, Any]:
    """A sentence of NER whose entities are the first occurrences of names: `sentence(1, "…", 人名="田中 林")`."""
    spans = [(text.index(name), name, kind) for kind, every in names.items() for name in every.split()]
    entities = [{"name": name, "span": [start, start + len(name)], "type": kind} for start, name, kind in spans]
    return {"curid": str(page), "text": text, "entities": entities}


NER = [
    sentence(1, "田中は青空食堂で働いている。", 人名="田中", 施設名="青空食堂"),
    sentence(1, "みどり湖のほとりに林が住む。", 地名="みどり湖", 人名="林"),
    sentence(2, "空は青い。"),
    sentence(3, "１２㌔先に北山駅がある。", 施設名="北山駅"),
    sentence(4, "田中林の二人はみどり湖へ行った。", 人名="田中 林", 地名="みどり湖"),
    sentence(5, "青空食堂は北山駅の前にある。", 施設名="青空食堂 北山駅"),
]
CONTEXTS = {
    "みどり湖 [SEP] みどり湖は山あいの湖で、周囲は約１２㌔ある。湖畔には３つの村があり、"
    "夏は釣り、冬は氷の上の祭りで知られる。最も深い所は四十メートルで、冬の水温は２℃になる。": [
        ("みどり湖の周囲は？", ["約１２㌔", "１２㌔"]),
        ("湖畔に村はいくつある？", ["３つ"]),
        ("冬の水温は？", ["２℃"]),
        ("この湖の名前は？", ["みどり湖"]),
    ],
    "青空食堂 [SEP] 青空食堂は㍼５０年に開いた店で、ｶﾞﾗｽの窓が名物である。": [
        ("名物は何か。", ["ｶﾞﾗｽの窓"]),
        ("店はいつ開いたか。", ["㍼５０年"]),
    ],
}


def jsquad() -> dict[str, Any]:
    """CONTEXTS as JSQuAD has them."""
    articles = []
    for number, (context, questions) in enumerate(CONTEXTS.items()):
        entries = [
            {
                "id": f"a{number}p0q{n}",
                "question": question,
                "answers": [{"text": answer, "answer_start": context.index(answer)} for answer in answers],
                "is_impossible": False,
            }
            for n, (question, answers) in enumerate(questions)
        ]
        articles.append({"title": context.split()[0], "paragraphs": [{"qas": entries, "context": context}]})
    return {"data": articles}


LINES = {"jsts": JSTS, "jnli": JNLI, "jcommonsenseqa": JCOMMONSENSEQA, "marc-ja": MARC_JA}


def write_lines(path: Path, examples: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(each, ensure_ascii=False) + "\n" for each in examples), encoding="utf-8")


def write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    lines = ["\t".join(map(str, cells)) + "\n" for cells in (rows[0], *(row.values() for row in rows))]
    path.write_text("".join(lines), encoding="utf-8")


def write_task(folder: Path, task: str) -> Path:
    """A task's folder, whose dev set is its training set."""
    folder.mkdir(parents=True)
    for part in ("train", "valid"):
        if task == "jsick":
            write_table(folder / f"{part}.tsv", JSICK)
        elif task == "ner":
            (folder / f"{part}.json").write_text(json.dumps(NER, ensure_ascii=False), encoding="utf-8")
        elif task == "jsquad":
            (folder / f"{part}-v1.1.json").write_text(json.dumps(jsquad(), ensure_ascii=False), encoding="utf-8")
        else:
            write_lines(folder / f"{part}-v1.1.json", LINES[task])
    return folder


def characters() -> str:
    """All that the examples are written in, normalised and not."""
    import unicodedata

    written = json.dumps([LINES, jsquad(), NER], ensure_ascii=False)
    return "".join(sorted({c for c in written + unicodedata.normalize("NFKC", written) if not c.isspace()}))
