"""The tiny models with random weights, what they fill into masks, and a service of a constant beside theirs."""

import json
import statistics
from pathlib import Path
from typing import Any

from scripts.bench.measured.stopwatch import Stopwatch

CONFIGS = Path(__file__).resolve().parents[3] / "stages" / "tpu_train" / "configs"
TOP = 5
Answers = list[list[tuple[int, float]]]


def models(vocabularies: str, out: str) -> None:
    """Write the model folders `character/tiny` and `wordpiece_tinysegmenter/tiny`, with model.onnx.

    vocabularies: the folder of `vocab`.
    """
    import torch
    from transformers import AlbertConfig, AlbertForPreTraining

    from stages.convert.onnx_model import write_onnx
    from stages.formats.albert_config import model_config
    from stages.words.model_folder import write_tokenizer

    for seed, name in enumerate(("character", "wordpiece_tinysegmenter")):
        folder = Path(out) / name / "tiny"
        settings = json.loads((CONFIGS / f"{name}_tiny.json").read_text(encoding="utf-8"))
        length = settings["max_position_embeddings"]
        tokenizer = write_tokenizer(folder, Path(vocabularies) / name / "vocab.txt", name.split("_")[0], length)
        config = model_config({**settings, "vocab_size": len(tokenizer.vocab)})
        torch.manual_seed(seed)
        model = AlbertForPreTraining(AlbertConfig(**config)).eval()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            # With this spread, the best entries at a mask are far apart, and differ from mask to mask.
            for part, parameter in model.named_parameters():
                if not part.rpartition(".")[0].lower().endswith(("layernorm", "layer_norm")):
                    parameter.normal_(0.0, 0.1)
        model.save_pretrained(folder)
        write_onnx(str(folder), config, {part: tensor.numpy() for part, tensor in model.state_dict().items()})


def masks(side: str, folder: str, path: str, batches: str) -> None:
    """Time and answers of a batch of texts with masks: the five best entries at each.

    `onnxruntime` is our `fill-mask`, `pytorch` transformers' model with the same ids and padding. Reading the model and
    two runs before are not timed.
    """
    from stages.words.encoding import Options
    from stages.words.reading import read_tokenizer

    tokenizer = read_tokenizer(folder)
    rows = tokenizer.rows(json.loads(Path(path).read_text(encoding="utf-8")), Options())
    if side == "onnxruntime":
        from stages.words.filling import MaskedLanguageModel

        ours = MaskedLanguageModel(folder, tokenizer, threads=1)

        def fill() -> Answers:
            texts = ours.fill_rows(rows, [TOP] * len(rows))
            return [[(entry.id, entry.score) for entry in mask.fills] for masks in texts for mask in masks]

    else:
        import torch
        from torch.nn.utils.rnn import pad_sequence
        from transformers import AlbertForMaskedLM
        from transformers.utils import logging

        logging.set_verbosity_error()  # type: ignore[no-untyped-call]
        torch.set_num_threads(1)
        model = AlbertForMaskedLM.from_pretrained(folder).eval()  # type: ignore[no-untyped-call]

        def fill() -> Answers:
            """Logits, softmax, the best at the masks."""
            ids = pad_sequence([torch.tensor(row.input_ids) for row in rows], batch_first=True)
            attention = pad_sequence([torch.ones(len(row.input_ids), dtype=int) for row in rows], batch_first=True)
            with torch.inference_mode():
                logits = model(input_ids=ids, attention_mask=attention).logits[ids == tokenizer.mask]
                scores = logits.softmax(-1)
                scores[:, sorted(tokenizer.special)] = -1
                values, entries = scores.topk(TOP)
            return [list(zip(*row, strict=True)) for row in zip(entries.tolist(), values.tolist(), strict=True)]

    answers = [fill(), fill()][1]
    watches = [Stopwatch() for _ in range(int(batches))]
    for watch in watches:
        with watch:
            fill()
    # The times of a batch vary by what else the machine does: the median is of the batch.
    wall, cpu = statistics.median(watch.wall for watch in watches), statistics.mean(watch.cpu for watch in watches)
    print(json.dumps({"amount": len(rows), "wall": wall, "cpu": cpu, "answers": answers}))


def constant(folder: str) -> None:
    """The service as `serve` runs it, and POST /v1/constant, whose answer is a constant."""
    from fastapi import Response

    from stages.serve import __main__ as serve
    from stages.serve.app import application

    def with_constant(*arguments: Any, **settings: Any) -> Any:
        gate = application(*arguments, **settings)

        @gate.app.post("/v1/constant", include_in_schema=False)
        async def answered() -> Response:
            return Response(b'{"model":"constant"}', media_type="application/json")

        return gate

    vars(serve)["application"] = with_constant
    serve.main(["--models", folder, "--port", "0"])
