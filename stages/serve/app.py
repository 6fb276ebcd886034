"""Models by name → the HTTP application: tokens, ids, texts and filled masks, a page, health and metrics."""

from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import resources
from itertools import islice
from pathlib import PurePath
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from stages.handover.manifests import VERSION
from stages.serve import contract
from stages.serve.batching import Batcher
from stages.serve.contract import Contract, Limits
from stages.serve.gate import PROBLEM_TYPE, Gate, HttpRefusal, problem
from stages.serve.metrics import MEDIA_TYPE, Metrics
from stages.serve.models import ServedModel
from stages.words.encoding import Options, Row, frame
from stages.words.filling import FillError, Mask

DESCRIPTION = """Tokens and ids of Japanese text, the text of ids, and the entries of an ALBERT model for `[MASK]`.

A request holds one text or a batch of texts. The answer has the same form. Offsets count code points."""
# Characters that the event loop processes itself, in 6 ms. More go to a thread, so that other requests need not wait.
INLINE_CHARACTERS = 20_000
# Characters in a batch of texts; tokens in a batch of masked texts, padding included.
BATCH_CHARACTERS, BATCH_TOKENS = 1 << 18, 1 << 13
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"description": text, "content": {PROBLEM_TYPE.decode(): {"schema": contract.Problem.model_json_schema()}}}
    for status, text in {
        404: "No such model, or the model has no such id",
        408: "The request did not arrive in time",
        413: "The body is too large",
        415: "The content type is not application/json",
        422: "The request does not match its schema, or a text cannot be processed",
        503: "Too many requests, or a request that took too long",
    }.items()
}
TextRequest = tuple[list[str], Options]
FillRequest = tuple[list[Row], int]  # rows, top_k


class Work:
    """The batched work on the texts of one model."""

    def __init__(self, model: ServedModel, threads: ThreadPoolExecutor, metrics: Metrics) -> None:
        self.model = model

        def text_batcher(process: Callable[[list[TextRequest]], list[Any]], name: str) -> Batcher[TextRequest, Any]:
            count = partial(metrics.count_batch, name)
            return Batcher(process, _characters, BATCH_CHARACTERS, INLINE_CHARACTERS, threads, count)

        self.tokens = text_batcher(self._tokens, "tokens")
        self.rows = text_batcher(self._rows, "rows")
        self.fills = Batcher(
            self._fills, _padded_tokens, BATCH_TOKENS, 0, threads, partial(metrics.count_batch, "fills")
        )

    def _tokens(self, requests: list[TextRequest]) -> list[list[list[str]]]:
        tokens = self.model.tokenizer.tokens([text for texts, _ in requests for text in texts])
        return _split(tokens, [len(texts) for texts, _ in requests])

    def _rows(self, requests: list[TextRequest]) -> list[list[Row]]:
        tokenizer = self.model.tokenizer
        encoding = tokenizer.encode([text for texts, _ in requests for text in texts])
        rows = frame(tokenizer, encoding, [options for texts, options in requests for _ in texts])
        return _split(rows, [len(texts) for texts, _ in requests])

    def _fills(self, requests: list[FillRequest]) -> list[list[list[Mask]]]:
        assert self.model.filler is not None
        all_rows = [row for rows, _ in requests for row in rows]
        masks = self.model.filler.fill_rows(all_rows, [top_k for rows, top_k in requests for _ in rows])
        return _split(masks, [len(rows) for rows, _ in requests])


def _characters(request: TextRequest) -> int:
    return sum(map(len, request[0]))


def _padded_tokens(request: FillRequest) -> int:
    rows, _ = request
    return len(rows) * max(len(row.input_ids) for row in rows)


def _split(results: list[Any], counts: Sequence[int]) -> list[list[Any]]:
    remaining = iter(results)
    return [list(islice(remaining, count)) for count in counts]


class JsonRequest(Request):
    """A request with a body read by orjson: it is faster, and refuses NaN and lone surrogates."""

    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            self._json = orjson.loads(await self.body())
        return self._json


class JsonRoute(APIRoute):
    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            return await handler(JsonRequest(request.scope, request.receive))

        return handle


def application(
    models: dict[str, ServedModel], default: str, limits: Limits, threads: int, logs: bool = True
) -> tuple[Gate, FastAPI]:
    """The ASGI application, and the FastAPI application in it. `/readyz` reports `state.ready` of the latter."""
    metrics = Metrics()
    pool = ThreadPoolExecutor(threads, "work")
    app = FastAPI(
        title="Tokenizer of Japanese ALBERT models", version=VERSION, description=DESCRIPTION,
        docs_url=None, redoc_url=None,
    )  # fmt: skip
    app.router.route_class = JsonRoute
    app.state.ready = True
    works = {name: Work(model, pool, metrics) for name, model in models.items()}
    _add_api(app, works, default, Contract(models, default, limits))
    _add_health(app, models, default, metrics)
    _add_page(app)
    _add_problems(app)
    routes = frozenset(route.path for route in app.routes if hasattr(route, "path"))
    return Gate(app, limits, metrics, routes, logs), app


def _json(value: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json")


def _add_api(app: FastAPI, works: dict[str, Work], default: str, requests: Contract) -> None:
    def work_of(name: str) -> Work:
        if name not in works:
            raise HttpRefusal(404, f"there is no such model; /v1/models lists {len(works)}, the first is {default}")
        return works[name]

    def texts_of(body: Any) -> list[str]:
        return body.texts if hasattr(body, "texts") else [body.text]

    def answer(request: Request, body: Any, work: Work, results: list[dict[str, Any]], tokens: int) -> Response:
        """One result, or the results of a batch. Log and metrics take the counts from the request's state."""
        model = work.model.name
        request.state.work.update(model=model, texts=len(results), tokens=tokens)
        batch = hasattr(body, "texts") or hasattr(body, "batch")
        return _json({"model": model, "results": results} if batch else {"model": model, **results[0]})

    def documentation(summary: str, one: Any, batch: Any, example: dict[str, Any], **more: Any) -> dict[str, Any]:
        """A route's entries in OpenAPI; `example` is an answer of the default model."""
        success = {200: {"content": {"application/json": {"example": {"model": default, **example}}}}}
        return {"summary": summary, "response_model": one | batch, "responses": {**PROBLEMS, **success, **more}}

    tokenizer, filler = works[default].model.tokenizer, works[default].model.filler
    [row] = tokenizer.rows([contract.EXAMPLE], Options())
    masks = filler.fill([contract.MASKED_EXAMPLE], 3)[0] if filler else []
    no_onnx = {"409": {**PROBLEMS[404], "description": "The model has no model.onnx"}}

    @app.post(
        "/v1/tokenize",
        **documentation("Texts to tokens", contract.TokensOne, contract.TokensBatch, {"tokens": row.tokens[1:-1]}),
    )
    async def tokenize(request: Request, body: requests.tokenize) -> Response:  # type: ignore[name-defined]
        work = work_of(body.model)
        rows = await work.tokens.submit((texts_of(body), Options()))
        return answer(request, body, work, [{"tokens": row} for row in rows], sum(map(len, rows)))

    @app.post(
        "/v1/encode", **documentation("Texts to ids", contract.EncodingOne, contract.EncodingBatch, row._asdict())
    )
    async def encode(request: Request, body: requests.encode) -> Response:  # type: ignore[name-defined]
        work = work_of(body.model)
        rows = await work.rows.submit((texts_of(body), Options(body.special_tokens, body.max_length)))
        return answer(request, body, work, [row._asdict() for row in rows], sum(len(row.tokens) for row in rows))

    @app.post(
        "/v1/decode",
        **documentation(
            "Ids to texts", contract.TextOne, contract.TextBatch, {"text": tokenizer.decode(row.input_ids)}
        ),
    )
    async def decode(request: Request, body: requests.decode) -> Response:  # type: ignore[name-defined]
        work = work_of(body.model)
        rows = body.batch if hasattr(body, "batch") else [body.ids]
        try:
            results = [{"text": work.model.tokenizer.decode(row, body.skip_special_tokens)} for row in rows]
        except ValueError as error:
            raise HttpRefusal(404, f"{work.model.name}: {error}") from None
        return answer(request, body, work, results, sum(map(len, rows)))

    @app.post(
        "/v1/fill-mask",
        **documentation(
            "The model's entries for each [MASK]", contract.MasksOne, contract.MasksBatch,
            {"masks": [mask.as_json() for mask in masks]}, **no_onnx,
        ),
    )  # fmt: skip
    async def fill_mask(request: Request, body: requests.fill_mask) -> Response:  # type: ignore[name-defined]
        work = work_of(body.model)
        if work.model.filler is None:
            raise HttpRefusal(409, f"{work.model.name} has no model.onnx, which fills masks")
        rows = await work.rows.submit((texts_of(body), Options()))
        try:
            work.model.filler.check(rows)
        except FillError as error:
            field = f"texts[{error.index}]" if hasattr(body, "texts") else "text"
            raise HttpRefusal(422, f"{field}: {error}") from None
        filled = await work.fills.submit((rows, body.top_k))
        results = [{"masks": [mask.as_json() for mask in masks]} for masks in filled]
        return answer(request, body, work, results, sum(len(row.tokens) for row in rows))


def _add_health(app: FastAPI, models: dict[str, ServedModel], default: str, metrics: Metrics) -> None:
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
             responses={200: {"content": {MEDIA_TYPE.split(";")[0]: {}}}})  # fmt: skip
    async def show_metrics() -> Response:
        return Response(metrics.text(), headers={"content-type": MEDIA_TYPE})


def _add_page(app: FastAPI) -> None:
    """The page at `/`, and its files, which are read once."""

    def add(path: str, media_type: str, body: bytes) -> None:
        headers = {
            "content-type": f"{media_type}; charset=utf-8",
            "cache-control": "no-cache",
            "content-security-policy": POLICY,
        }

        async def show() -> Response:
            return Response(body, headers=headers)

        app.add_api_route(path, show, include_in_schema=False)

    for file in resources.files("stages.serve").joinpath("page").iterdir():
        if media_type := MEDIA_TYPES.get(PurePath(file.name).suffix):
            add("/" if file.name == "index.html" else f"/page/{file.name}", media_type, file.read_bytes())


def _add_problems(app: FastAPI) -> None:
    def answer(status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
        return Response(problem(status, detail), status, headers, PROBLEM_TYPE.decode())

    @app.exception_handler(HttpRefusal)
    async def refuse(_: Request, error: HttpRefusal) -> Response:
        return answer(error.status, error.detail, error.headers)

    @app.exception_handler(HTTPException)
    async def http_error(_: Request, error: HTTPException) -> Response:
        return answer(error.status_code, str(error.detail), dict(error.headers or {}))

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        return answer(422, "; ".join(map(_fault, error.errors()[:5])))

    @app.exception_handler(404)
    async def no_route(_: Request, error: Exception) -> Response:
        return answer(404, "there is no such route; / is the page, and /openapi.json describes the routes")


def _fault(fault: dict[str, Any]) -> str:
    """The place and kind of a fault, as `texts[3]: …`, without the value, which may be a text."""
    _, *steps = fault["loc"]
    if fault["type"] == "json_invalid":
        return f"the body is not JSON, from byte {steps[0]} on: {fault['ctx']['error']}"
    # The first step is the tag of the request's kind, "one" or "batch".
    place = "".join(f"[{step}]" if isinstance(step, int) else step for step in steps[1:])
    return f"{place or 'the body'}: {fault['msg']}"
