"""Requests and answers as pydantic models, which OpenAPI describes with examples."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, FailFast, Field, Tag, create_model

from stages.serve.models import ServedModel
from stages.serve.options import Options

EXAMPLE = "日本語の文を、小さな単位に分ける。"
MASKED_EXAMPLE = "日本の首都は[MASK]である。"
# To fill a text takes thirty times as long as to encode it (character tiny), and running work cannot be cancelled.
MAX_MASKED_TEXTS = 64


class Tokens(BaseModel):
    tokens: list[str]


class Encoding(BaseModel):
    """Lists of equal length. [CLS] and [SEP] have the offsets [0, 0] and no word."""

    input_ids: list[int]
    tokens: list[str]
    offsets: list[tuple[int, int]] = Field(description="start and end in the text, in code points (not UTF-16 units)")
    word_ids: list[int | None] = Field(description="number of the token's word")


class Text(BaseModel):
    text: str


class Fill(BaseModel):
    token: str
    id: int
    score: float = Field(description="probability")


class Mask(BaseModel):
    start: int = Field(description="start of [MASK] in the text, in code points")
    end: int
    fills: list[Fill] = Field(description="the most probable entries, the best first, without special tokens")


class Masks(BaseModel):
    masks: list[Mask]


class Answer(BaseModel):
    """A model's answer."""

    model: str = Field(description="the model that answered")


def answer(kind: type[BaseModel]) -> Any:
    """The answer to a text: its result; and to a batch of texts: their results."""
    one = create_model(f"{kind.__name__}One", __base__=(Answer, kind))
    batch = create_model(f"{kind.__name__}Batch", __base__=Answer, results=(list[kind], ...))  # type: ignore[valid-type]
    return one | batch


class Model(BaseModel):
    name: str
    subword_tokenizer_type: Literal["wordpiece", "character"]
    vocab_size: int
    max_length: int | None = Field(description="most tokens of a text, with [CLS] and [SEP]; null: no limit")
    fill_mask: bool = Field(description="whether the model has a model.onnx")


class Models(BaseModel):
    default: str = Field(description="the model of a request that names none")
    models: list[Model]


class State(BaseModel):
    status: str


class Problem(BaseModel):
    """RFC 9457, Problem Details for HTTP APIs."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str


class Contract:
    """The requests of a service. Their schemas contain its limits and the names of its models."""

    def __init__(self, models: dict[str, ServedModel], default: str, options: Options) -> None:
        entries = max(len(model.tokenizer.entries) for model in models.values())
        longest, most = options.max_characters, options.max_texts
        integer = BeforeValidator(_integer)
        # FailFast: of a hundred thousand wrong ids the first one is enough.
        Name = Annotated[str, Field(description="a name from /v1/models", json_schema_extra={"enum": sorted(models)})]
        ShortText = Annotated[str, Field(max_length=longest)]
        MaskedText = Annotated[str, Field(max_length=longest, json_schema_extra={"pattern": r"\[MASK\]"})]
        Ids = Annotated[list[Annotated[int, Field(ge=0, lt=entries)]], Field(max_length=longest), FailFast(), integer]

        class Request(BaseModel):
            model_config = ConfigDict(extra="forbid", strict=True)
            model: Name = default

        class EncodeOptions(Request):
            special_tokens: bool = Field(True, description="add [CLS] before the text and [SEP] after it")
            max_length: Annotated[Annotated[int, Field(ge=3, le=1 << 24)] | None, integer] = Field(
                None, description="truncate a text to so many tokens, with [CLS] and [SEP]; null: no limit"
            )

        class DecodeOptions(Request):
            skip_special_tokens: bool = Field(True, description="leave out [CLS], [SEP] and other special tokens")

        class FillOptions(Request):
            top_k: Annotated[int, Field(ge=1, le=100), integer] = Field(5, description="entries for a mask")

        self.tokenize = _request(
            "Tokenize", Request, ShortText, most, {"text": EXAMPLE}, {"texts": [EXAMPLE, "二つ目の文。"]}
        )
        self.encode = _request(
            "Encode", EncodeOptions, ShortText, most,
            {"text": EXAMPLE, "max_length": 128}, {"texts": [EXAMPLE], "model": default},
        )  # fmt: skip
        self.decode = _request("Decode", DecodeOptions, Ids, most, {"ids": [2, 10, 11, 3]}, {"batch": [[10, 11], [12]]})
        self.fill_mask = _request(
            "Fill", FillOptions, MaskedText, min(most, MAX_MASKED_TEXTS),
            {"text": MASKED_EXAMPLE, "top_k": 3}, {"texts": [MASKED_EXAMPLE]},
        )  # fmt: skip


def _integer(value: Any) -> Any:
    """65.0 as 65, alone or in a list: JSON does not distinguish them."""
    if isinstance(value, list):
        return [_integer(number) if type(number) is float else number for number in value]
    return int(value) if type(value) is float and value.is_integer() else value


def _request(name: str, base: type[BaseModel], kind: Any, most: int, one: dict[str, Any], batch: dict[str, Any]) -> Any:
    """A request with one value of a kind, or with a batch of 1 to `most` of them; each has an example.

    The first field of an example is the value or the batch. A request with the field of the batch is a batch, so that
    errors are those of its own kind.
    """

    def model(form: str, kind: Any, example: dict[str, Any]) -> Any:
        fields: Any = {next(iter(example)): (kind, ...)}
        config = {"json_schema_extra": {"examples": [example]}}
        return create_model(name + form, __base__=base, __cls_kwargs__=config, **fields)

    One = model("One", kind, one)
    Batch = model("Batch", Annotated[list[kind], Field(min_length=1, max_length=most)], batch)
    field = next(iter(batch))

    def tag(value: Any) -> str:
        return "batch" if isinstance(value, dict) and field in value else "one"

    return Annotated[Annotated[One, Tag("one")] | Annotated[Batch, Tag("batch")], Discriminator(tag)]
