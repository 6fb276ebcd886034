"""Requests and answers as pydantic models, which OpenAPI describes with examples."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag

from stages.serve.models import ServedModel

EXAMPLE = "日本語の文を、小さな単位に分ける。"
MASKED_EXAMPLE = "日本の首都は[MASK]である。"
# To fill a text takes thirty times as long as to encode it (character tiny), and running work cannot be cancelled.
MAX_MASKED_TEXTS = 64


class Limits(BaseModel):
    """The limits of a request, and of concurrent requests: bytes, texts, characters a text, requests, seconds."""

    body: int
    texts: int
    characters: int
    waiting: int
    seconds: float


class Answer(BaseModel):
    """A model's answer."""

    model: str = Field(description="the model that answered")


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


class TokensOne(Answer, Tokens):
    pass


class TokensBatch(Answer):
    results: list[Tokens]


class EncodingOne(Answer, Encoding):
    pass


class EncodingBatch(Answer):
    results: list[Encoding]


class TextOne(Answer, Text):
    pass


class TextBatch(Answer):
    results: list[Text]


class MasksOne(Answer, Masks):
    pass


class MasksBatch(Answer):
    results: list[Masks]


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

    def __init__(self, models: dict[str, ServedModel], default: str, limits: Limits) -> None:
        def strict(*examples: dict[str, Any]) -> ConfigDict:
            return ConfigDict(extra="forbid", strict=True, json_schema_extra={"examples": list(examples)})

        entries = max(len(model.tokenizer.entries) for model in models.values())
        ShortText = Annotated[str, Field(max_length=limits.characters)]
        MaskedText = Annotated[str, Field(max_length=limits.characters, json_schema_extra={"pattern": r"\[MASK\]"})]
        integer = BeforeValidator(_integer)
        Ids = Annotated[list[Annotated[int, Field(ge=0, lt=entries)]], Field(max_length=limits.characters), integer]
        Name = Annotated[str, Field(description="a name from /v1/models", json_schema_extra={"enum": sorted(models)})]
        batch_size: Any = Field(min_length=1, max_length=limits.texts)

        class Request(BaseModel):
            model_config = strict()
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

        class TokenizeOne(Request):
            model_config = strict({"text": EXAMPLE})
            text: ShortText

        class TokenizeBatch(Request):
            model_config = strict({"texts": [EXAMPLE, "二つ目の文。"]})
            texts: Annotated[list[ShortText], batch_size]

        class EncodeOne(EncodeOptions):
            model_config = strict({"text": EXAMPLE, "max_length": 128})
            text: ShortText

        class EncodeBatch(EncodeOptions):
            model_config = strict({"texts": [EXAMPLE], "model": default})
            texts: Annotated[list[ShortText], batch_size]

        class DecodeOne(DecodeOptions):
            model_config = strict({"ids": [2, 10, 11, 3]})
            ids: Ids

        class DecodeBatch(DecodeOptions):
            model_config = strict({"batch": [[10, 11], [12]]})
            batch: Annotated[list[Ids], batch_size]

        class FillOne(FillOptions):
            model_config = strict({"text": MASKED_EXAMPLE, "top_k": 3})
            text: MaskedText

        class FillBatch(FillOptions):
            model_config = strict({"texts": [MASKED_EXAMPLE]})
            texts: Annotated[list[MaskedText], Field(min_length=1, max_length=min(limits.texts, MAX_MASKED_TEXTS))]

        self.tokenize = _one_or_batch(TokenizeOne, TokenizeBatch, "texts")
        self.encode = _one_or_batch(EncodeOne, EncodeBatch, "texts")
        self.decode = _one_or_batch(DecodeOne, DecodeBatch, "batch")
        self.fill_mask = _one_or_batch(FillOne, FillBatch, "texts")


def _integer(value: Any) -> Any:
    """65.0 as 65, alone or in a list: JSON does not distinguish them."""
    if isinstance(value, list):
        return [_integer(number) if type(number) is float else number for number in value]
    return int(value) if type(value) is float and value.is_integer() else value


def _one_or_batch(one: type[BaseModel], batch: type[BaseModel], field: str) -> Any:
    """One of two kinds of request. A request with `field` is a batch, so that errors are those of its own kind."""

    def kind(value: Any) -> str:
        return "batch" if isinstance(value, dict) and field in value else "one"

    return Annotated[Annotated[one, Tag("one")] | Annotated[batch, Tag("batch")], Discriminator(kind)]
