"""Models by name → the HTTP application: tokens, ids, texts and filled masks, a page, health and metrics."""

import codecs
import os
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from itertools import chain, islice
from pathlib import Path
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from prometheus_client import generate_latest
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from stages.handover.manifests import VERSION
from stages.serve import contract, metrics
from stages.serve.batching import Batcher
from stages.serve.contract import Contract
from stages.serve.gate import PROBLEM_TYPE, Gate, problem
from stages.serve.models import ServedModel
from stages.serve.options import Options
from stages.words.encoding import Options as Frame
from stages.words.encoding import Row, frame
from stages.words.filling import FillError, Mask

DESCRIPTION = """Tokens and ids of Japanese text, the text of ids, and the entries of an ALBERT model for `[MASK]`.

A request holds one text or a batch of texts. The answer has the same form. Offsets count code points."""
# Characters that the event loop processes itself, in 1 ms, and in 0.1 s where each is normalised to 18 (U+FDFA). More
# go to a thread, so that other requests need not wait.
INLINE_CHARACTERS = 4_000
# Characters in a batch of texts, and tokens in a request; tokens in a batch of masked texts, padding included.
BATCH_CHARACTERS, BATCH_TOKENS = 1 << 18, 1 << 13
# Texts of a request that are filled in one go. A request whose time is up has no more of them filled.
FILLED_TEXTS = 16
# Entries for the masks of a request: 1 MB of answer, 10 MB of memory.
MOST_FILLS = 10_000
# Fields of a body: each unknown one is a fault of its own, of which there may be 200,000 in 1 MiB.
MOST_FIELDS = 16
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
NO_ROUTE = "there is no such route; / is the page, and /openapi.json describes the routes"
MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"description": text, "content": {PROBLEM_TYPE: {"schema": contract.Problem.model_json_schema()}}}
    for status, text in {
        404: "No such model, or the model has no such id",
        408: "The request did not arrive in time",
        413: "The body is too large",
        415: "The content type is not application/json",
        422: "The request does not match its schema, or a text cannot be processed",
        503: "Too many requests, or a request that took too long",
    }.items()
}


class Work:
    """The batched work on the texts of one model. A request is a list of texts, or of rows, each with its options."""

    def __init__(self, model: ServedModel, threads: ThreadPoolExecutor) -> None:
        def batcher(name: str, process: Any, cost: Any, max_cost: int, inline_cost: int) -> Batcher[Any, Any]:
            def process_all(requests: list[list[Any]]) -> list[list[Any] | Exception]:
                try:
                    results = iter(process(list(chain(*requests))))
                except HTTPException as refusal:
                    # Of one of them, which is found alone.
                    alone = (process_all([request]) for request in requests if len(requests) > 1)
                    return list(chain.from_iterable(alone)) or [refusal]
                return [list(islice(results, len(request))) for request in requests]

            return Batcher(process_all, cost, max_cost, inline_cost, threads, metrics.BATCHES.labels(name).observe)

        self.model = model
        self.tokens = batcher("tokens", self._tokens, _characters, BATCH_CHARACTERS, INLINE_CHARACTERS)
        self.rows = batcher("rows", self._rows, _characters, BATCH_CHARACTERS, INLINE_CHARACTERS)
        self.fills = batcher("fills", self._fills, _padded_tokens, BATCH_TOKENS, 0)

    def _tokens(self, texts: list[tuple[str, Frame]]) -> list[list[str]]:
        tokens = self.model.tokenizer.tokens([text for text, _ in texts])
        self._check(sum(map(len, tokens)), texts)
        return tokens

    def _rows(self, texts: list[tuple[str, Frame]]) -> list[Row]:
        encoding = self.model.tokenizer.encode([text for text, _ in texts])
        self._check(len(encoding.ids), texts)
        return frame(self.model.tokenizer, encoding, [options for _, options in texts])

    def _check(self, tokens: int, texts: list[tuple[str, Frame]]) -> None:
        """Refuse texts that are much longer when they are normalised: a token of usual text is a character or more."""
        most = max(BATCH_CHARACTERS, _characters(texts))
        if tokens > most:
            raise HTTPException(422, f"the texts have {tokens} tokens once they are normalised; {most} are allowed")

    def _fills(self, rows: list[tuple[Row, int]]) -> list[list[Mask]]:
        assert self.model.filler is not None
        return self.model.filler.fill_rows([row for row, _ in rows], [top_k for _, top_k in rows])


def _characters(texts: list[tuple[str, Frame]]) -> int:
    return sum(len(text) for text, _ in texts)


def _padded_tokens(rows: list[tuple[Row, int]]) -> int:
    return len(rows) * max(len(row.input_ids) for row, _ in rows)


class JsonRequest(Request):
    """A request whose body the gate has read. orjson is faster, and refuses NaN and lone surrogates."""

    async def body(self) -> bytes:
        body: bytes = self.scope["body"]
        return body

    async def json(self) -> Any:
        body: bytes = self.scope["body"]
        try:
            value = orjson.loads(body.removeprefix(codecs.BOM_UTF8))
        except orjson.JSONDecodeError as error:
            raise HTTPException(422, _json_fault(body, error)) from None
        if isinstance(value, dict) and len(value) > MOST_FIELDS:
            raise HTTPException(422, f"the body has {len(value)} fields; /openapi.json describes those that there are")
        return value


class JsonRoute(APIRoute):
    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            return await handler(JsonRequest(request.scope, request.receive))

        return handle


def _json_fault(body: bytes, error: orjson.JSONDecodeError) -> str:
    """What is wrong with a body that is not JSON, and from which byte on."""
    try:
        body.decode()
        place, reason = len(error.doc[: error.pos].encode()), error.msg.partition(":")[0]
        place += len(codecs.BOM_UTF8) * body.startswith(codecs.BOM_UTF8)
    except UnicodeDecodeError as wrong:
        place, reason = wrong.start, "not UTF-8"
    return f"the body is not JSON, from byte {place} on: {reason}"


def application(models: dict[str, ServedModel], default: str, options: Options) -> Gate:
    """The ASGI application. `/readyz` reports `state.ready` of the FastAPI application in it."""
    pool = ThreadPoolExecutor(os.cpu_count() or 1, "work")
    app = FastAPI(
        title="Tokenizer of Japanese ALBERT models", version=VERSION, description=DESCRIPTION,
        docs_url=None, redoc_url=None,
    )  # fmt: skip
    app.router.route_class = JsonRoute
    app.state.ready = True
    works = {name: Work(model, pool) for name, model in models.items()}
    _add_api(app, works, default, Contract(models, default, options), options.max_characters)
    _add_health(app, models, default)
    _add_page(app)
    _add_problems(app)
    return Gate(app, options)


def _json(value: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json")


def _add_api(app: FastAPI, works: dict[str, Work], default: str, requests: Contract, most: int) -> None:
    """The routes. most: characters or ids that a request may have in all."""

    def work_of(name: str) -> Work:
        if name not in works:
            raise HTTPException(404, f"there is no such model; /v1/models lists {len(works)}, the first is {default}")
        return works[name]

    def limited(values: list[Any], kind: str) -> list[Any]:
        total = sum(map(len, values))
        if total > most:
            raise HTTPException(422, f"the request has {total} {kind}; {most} are allowed: send several requests")
        return values

    def texts_of(body: Any, options: Frame) -> list[tuple[str, Frame]]:
        texts = limited(body.texts if hasattr(body, "texts") else [body.text], "characters")
        return [(text, options) for text in texts]

    def answer(request: Request, body: Any, work: Work, results: list[dict[str, Any]], tokens: int) -> Response:
        """One result, or the results of a batch. Log and metrics take the counts from the request's state."""
        model = work.model.name
        request.state.work.update(model=model, texts=len(results), tokens=tokens)
        batch = hasattr(body, "texts") or hasattr(body, "batch")
        return _json({"model": model, "results": results} if batch else {"model": model, **results[0]})

    def documented(summary: str, kind: type[BaseModel], example: dict[str, Any], **more: Any) -> dict[str, Any]:
        """A route's entries in OpenAPI; `example` is an answer of the default model."""
        success = {200: {"content": {"application/json": {"example": {"model": default, **example}}}}}
        responses: dict[Any, Any] = {**PROBLEMS, **success, **more}
        return {"summary": summary, "response_model": contract.answer(kind), "responses": responses}

    tokenizer, filler = works[default].model.tokenizer, works[default].model.filler
    [row] = tokenizer.rows([contract.EXAMPLE], Frame())
    masks = filler.fill([contract.MASKED_EXAMPLE], 3)[0] if filler else []
    no_onnx = {"409": {**PROBLEMS[404], "description": "The model has no model.onnx"}}

    @app.post("/v1/tokenize", **documented("Texts to tokens", contract.Tokens, {"tokens": row.tokens[1:-1]}))
    async def tokenize(request: Request, body: requests.tokenize) -> Response:  # type: ignore[name-defined]
        work = work_of(body.model)
        rows = await work.tokens.submit(texts_of(body, Frame()))
        return answer(request, body, work, [{"tokens": row} for row in rows], sum(map(len, rows)))

    @app.post("/v1/encode", **documented("Texts to ids", contract.Encoding, row._asdict()))
    async def encode(request: Request, body: requests.encode) -> Response:  # type: ignore[name-defined]
        work = work_of(body.model)
        rows = await work.rows.submit(texts_of(body, Frame(body.special_tokens, body.max_length)))
        return answer(request, body, work, [row._asdict() for row in rows], sum(len(row.tokens) for row in rows))

    @app.post("/v1/decode", **documented("Ids to texts", contract.Text, {"text": tokenizer.decode(row.input_ids)}))
    async def decode(request: Request, body: requests.decode) -> Response:  # type: ignore[name-defined]
        work = work_of(body.model)
        rows = limited(body.batch if hasattr(body, "batch") else [body.ids], "ids")
        try:
            results = [{"text": work.model.tokenizer.decode(row, body.skip_special_tokens)} for row in rows]
        except ValueError as error:
            raise HTTPException(404, f"{work.model.name}: {error}") from None
        return answer(request, body, work, results, sum(map(len, rows)))

    example = {"masks": [mask.as_json() for mask in masks]}

    @app.post("/v1/fill-mask", **documented("The model's entries for each [MASK]", contract.Masks, example, **no_onnx))
    async def fill_mask(request: Request, body: requests.fill_mask) -> Response:  # type: ignore[name-defined]
        work = work_of(body.model)
        if work.model.filler is None:
            raise HTTPException(409, f"{work.model.name} has no model.onnx, which fills masks")
        rows = await work.rows.submit(texts_of(body, Frame()))
        try:
            work.model.filler.check(rows)
        except FillError as error:
            field = f"texts[{error.index}]" if hasattr(body, "texts") else "text"
            raise HTTPException(422, f"{field}: {error}") from None
        masks = sum(row.input_ids.count(work.model.tokenizer.mask) for row in rows)
        if masks * body.top_k > MOST_FILLS:
            fault = f"{masks} masks, top_k {body.top_k}: that is {masks * body.top_k} entries; {MOST_FILLS} are allowed"
            raise HTTPException(422, fault)
        filled: list[list[Mask]] = []
        for first in range(0, len(rows), FILLED_TEXTS):
            part = rows[first : first + FILLED_TEXTS]
            filled += await work.fills.submit([(row, body.top_k) for row in part])
        results = [{"masks": [mask.as_json() for mask in masks]} for masks in filled]
        return answer(request, body, work, results, sum(len(row.tokens) for row in rows))


def _add_health(app: FastAPI, models: dict[str, ServedModel], default: str) -> None:
    listing = _json({"default": default, "models": [model.description() for model in models.values()]})

    @app.get("/v1/models", response_model=contract.Models, summary="The models of the service")
    async def list_models() -> Response:
        return listing

    @app.get("/healthz", response_model=contract.State, summary="Whether the process is alive")
    async def health() -> Response:
        return _json({"status": "alive"})

    @app.get(
        "/readyz", response_model=contract.State, summary="Whether the service accepts requests",
        responses={503: {"model": contract.State, "description": "The service is about to end"}},
    )  # fmt: skip
    async def ready() -> Response:
        return _json({"status": "ready"}) if app.state.ready else _json({"status": "ending"}, 503)

    @app.get("/metrics", response_class=Response, summary="Counters, for Prometheus",
             responses={200: {"content": {metrics.MEDIA_TYPE.split(";")[0]: {}}}})  # fmt: skip
    async def show_metrics() -> Response:
        return Response(generate_latest(metrics.REGISTRY), headers={"content-type": metrics.MEDIA_TYPE})


def _add_page(app: FastAPI) -> None:
    """The page at `/`, and its files, which are read once."""

    def add(path: str, media_type: str, body: bytes) -> None:
        kind = {"content-type": f"{media_type}; charset=utf-8", "cache-control": "no-cache"}

        async def show() -> Response:
            return Response(body, headers={**kind, "content-security-policy": POLICY})

        app.add_api_route(path, show, include_in_schema=False)

    for file in (Path(__file__).parent / "page").iterdir():
        if media_type := MEDIA_TYPES.get(file.suffix):
            add("/" if file.name == "index.html" else f"/page/{file.name}", media_type, file.read_bytes())


def _add_problems(app: FastAPI) -> None:
    def answer(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
        return Response(problem(status, detail), status, headers, PROBLEM_TYPE)

    @app.exception_handler(HTTPException)
    async def refuse(_: Request, error: HTTPException) -> Response:
        unknown = error.status_code == 404 and error.detail == HTTPStatus.NOT_FOUND.phrase
        return answer(error.status_code, NO_ROUTE if unknown else error.detail, error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        return answer(422, "; ".join(map(_fault, error.errors()[:5])))


def _fault(fault: dict[str, Any]) -> str:
    """The place and kind of a fault, as `texts[3]: …`, without the value, which may be a text."""
    _, *steps = fault["loc"]
    # The first step is the tag of the request's kind, "one" or "batch".
    place = "".join(f"[{step}]" if isinstance(step, int) else step[:40] for step in steps[1:])
    return f"{place or 'the body'}: {fault['msg']}"
