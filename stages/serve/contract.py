"""What a request may hold and what an answer does, as pydantic models, which OpenAPI describes with examples."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag

from stages.serve.models import Served

EXAMPLE = "日本語の文を、小さな単位に分ける。"
# A text with masks takes thirty times as long as its tokens (character tiny), and work once begun is not taken back.
MOST_MASKED = 64
MASKED = "日本の首都は[MASK]である。"


class Limits(BaseModel):
    """What a request may ask for at most."""

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
    """Lists of one length: [CLS] and [SEP] are at [0, 0], in no word."""

    input_ids: list[int]
    tokens: list[str]
    offsets: list[tuple[int, int]] = Field(description="start and end in the text, in code points (not UTF-16 units)")
    word_ids: list[int | None] = Field(description="number of the word that a token belongs to")


class Text(BaseModel):
    text: str


class Fill(BaseModel):
    token: str
    id: int
    score: float = Field(description="probability")


class Mask(BaseModel):
    start: int = Field(description="where [MASK] stands in the text, in code points")
    end: int
    fills: list[Fill] = Field(description="the most probable entries, the best first; special ones are left out")


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
    max_length: int | None = Field(description="tokens that the model takes, [CLS] and [SEP] counted; null: no bound")
    fill_mask: bool = Field(description="whether it has a model.onnx")


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
    """The requests of a service, whose schemas hold its limits and the names of its models."""

    def __init__(self, models: dict[str, Served], default: str, limits: Limits) -> None:
        def strict(*examples: dict[str, Any]) -> ConfigDict:
            return ConfigDict(extra="forbid", strict=True, json_schema_extra={"examples": list(examples)})

        entries = max(len(model.tokenizer.entries) for model in models.values())
        OneText = Annotated[str, Field(max_length=limits.characters)]
        MaskedText = Annotated[str, Field(max_length=limits.characters, json_schema_extra={"pattern": r"\[MASK\]"})]
        whole = BeforeValidator(_whole)
        Ids = Annotated[list[Annotated[int, Field(ge=0, lt=entries)]], Field(max_length=limits.characters), whole]
        Name = Annotated[
            str, Field(description="a name that /v1/models lists", json_schema_extra={"enum": sorted(models)})
        ]
        several: Any = Field(min_length=1, max_length=limits.texts)

        class Request(BaseModel):
            model_config = strict()
            model: Name = default

        class EncodeOptions(Request):
            special_tokens: bool = Field(True, description="[CLS] before the text and [SEP] behind it")
            max_length: Annotated[Annotated[int, Field(ge=3, le=1 << 24)] | None, whole] = Field(
                None, description="cut a text to so many tokens, [CLS] and [SEP] counted; null: no cut"
            )

        class DecodeOptions(Request):
            skip_special_tokens: bool = Field(True, description="leave out [CLS], [SEP] and the like")

        class FillOptions(Request):
            top_k: Annotated[int, Field(ge=1, le=100), whole] = Field(5, description="entries for a mask")

        class TokenizeOne(Request):
            model_config = strict({"text": EXAMPLE})
            text: OneText

        class TokenizeBatch(Request):
            model_config = strict({"texts": [EXAMPLE, "二つ目の文。"]})
            texts: Annotated[list[OneText], several]

        class EncodeOne(EncodeOptions):
            model_config = strict({"text": EXAMPLE, "max_length": 128})
            text: OneText

        class EncodeBatch(EncodeOptions):
            model_config = strict({"texts": [EXAMPLE], "model": default})
            texts: Annotated[list[OneText], several]

        class DecodeOne(DecodeOptions):
            model_config = strict({"ids": [2, 10, 11, 3]})
            ids: Ids

        class DecodeBatch(DecodeOptions):
            model_config = strict({"batch": [[10, 11], [12]]})
            batch: Annotated[list[Ids], several]

        class FillOne(FillOptions):
            model_config = strict({"text": MASKED, "top_k": 3})
            text: MaskedText

        class FillBatch(FillOptions):
            model_config = strict({"texts": [MASKED]})
            texts: Annotated[list[MaskedText], Field(min_length=1, max_length=min(limits.texts, MOST_MASKED))]

        self.tokenize = _either(TokenizeOne, TokenizeBatch, "texts")
        self.encode = _either(EncodeOne, EncodeBatch, "texts")
        self.decode = _either(DecodeOne, DecodeBatch, "batch")
        self.fill_mask = _either(FillOne, FillBatch, "texts")


def _whole(value: Any) -> Any:
    """JSON has one kind of number: 65.0 is as whole as 65. Alone, or in a list."""
    if isinstance(value, list):
        return [_whole(each) if type(each) is float else each for each in value]
    return int(value) if type(value) is float and value.is_integer() else value


def _either(one: type[BaseModel], batch: type[BaseModel], field: str) -> Any:
    """A request of one, or of a batch, which `field` tells: an error is then of the one that was meant."""

    def kind(value: Any) -> str:
        return "batch" if isinstance(value, dict) and field in value else "one"

    return Annotated[Annotated[one, Tag("one")] | Annotated[batch, Tag("batch")], Discriminator(kind)]
