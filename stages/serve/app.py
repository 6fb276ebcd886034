"""Models by name → the HTTP application: tokens, ids, texts and filled masks, a page, health and metrics."""

from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
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
from stages.serve.gate import PROBLEM, Gate, Refused, problem
from stages.serve.metrics import MEDIA_TYPE, Metrics
from stages.serve.models import Served
from stages.words.encoding import Encoded, Options, Row, framed
from stages.words.filling import Mask, Unfit

DESCRIPTION = """Japanese text to the tokens and ids of ALBERT models, and back, and what the models put for `[MASK]`.

A request holds one text or a batch of them, and the answer has the same form. Places are counted in code points."""
# Characters to work on in the event loop itself: 6 ms. More go to a thread, so that others need not wait.
AT_ONCE = 20_000
# Characters in a batch of texts; tokens in a batch to be filled, padding included.
MOST_CHARACTERS, MOST_TOKENS = 1 << 18, 1 << 13
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"description": text, "content": {PROBLEM.decode(): {"schema": contract.Problem.model_json_schema()}}}
    for status, text in {
        404: "No such model, or it has no such id",
        408: "The request did not come whole in time",
        413: "The body is too large",
        415: "The body is not called JSON",
        422: "The request is none, or a text cannot be worked on",
        503: "Too many requests, or one that took too long",
    }.items()
}
Texts = tuple[list[str], Options]


class Work:
    """What is done with the texts of one model, batched."""

    def __init__(self, served: Served, threads: ThreadPoolExecutor, metrics: Metrics) -> None:
        self.served = served

        def told(work: str) -> Callable[[int], None]:
            return lambda requests: metrics.batched(work, requests)

        def characters(given: Texts) -> int:
            return sum(map(len, given[0]))

        most = MOST_CHARACTERS
        self.tokens = Batcher(self._tokens, characters, most, AT_ONCE, threads, told("tokens"))
        self.rows = Batcher(self._rows, characters, most, AT_ONCE, threads, told("rows"))
        self.fills = Batcher(self._fills, _size, MOST_TOKENS, 0, threads, told("fills"))

    def _tokens(self, requests: list[Texts]) -> list[list[list[str]]]:
        texts = [text for given, _ in requests for text in given]
        return _shared_out(self.served.tokenizer.tokens(texts), [len(given) for given, _ in requests])

    def _rows(self, requests: list[Texts]) -> list[list[Row]]:
        tokenizer = self.served.tokenizer
        encoded: Encoded = tokenizer.encode([text for given, _ in requests for text in given])
        rows = framed(tokenizer, encoded, [options for given, options in requests for _ in given])
        return _shared_out(rows, [len(given) for given, _ in requests])

    def _fills(self, requests: list[tuple[list[Row], int]]) -> list[list[list[Mask]]]:
        assert self.served.filler is not None
        rows = [row for given, _ in requests for row in given]
        masks = self.served.filler.fill_rows(rows, [top_k for given, top_k in requests for _ in given])
        return _shared_out(masks, [len(given) for given, _ in requests])


def _size(request: tuple[list[Row], int]) -> int:
    rows, _ = request
    return len(rows) * max(len(row.input_ids) for row in rows)


def _shared_out(results: list[Any], counts: Sequence[int]) -> list[list[Any]]:
    following = iter(results)
    return [[next(following) for _ in range(count)] for count in counts]


class JsonRequest(Request):
    """A request whose body is read by orjson: faster, and it takes neither NaN nor halves of characters."""

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
    models: dict[str, Served], default: str, limits: Limits, threads: int, logs: bool = True
) -> tuple[Gate, FastAPI]:
    """The ASGI application, and the one within: `ready` of its state is what `/readyz` tells."""
    metrics = Metrics()
    pool = ThreadPoolExecutor(threads, "work")
    app = FastAPI(
        title="Tokenizer of Japanese ALBERT models", version=VERSION, description=DESCRIPTION,
        docs_url=None, redoc_url=None,
    )  # fmt: skip
    app.router.route_class = JsonRoute
    app.state.ready = True
    work = {name: Work(served, pool, metrics) for name, served in models.items()}
    _add_api(app, work, default, Contract(models, default, limits))
    _add_health(app, models, default, metrics)
    _add_page(app)
    _add_problems(app)
    routes = frozenset(route.path for route in app.routes if hasattr(route, "path"))
    return Gate(app, limits, metrics, routes, logs), app


def _json(value: Any) -> Response:
    return Response(orjson.dumps(value), media_type="application/json")


def _add_api(app: FastAPI, work: dict[str, Work], default: str, requests: Contract) -> None:
    def chosen(name: str) -> Work:
        if name not in work:
            raise Refused(404, f"there is no such model; /v1/models lists {len(work)}, the first is {default}")
        return work[name]

    def answer(
        request: Request, of: Work, results: list[dict[str, Any]], tokens: int, texts: list[str] | None
    ) -> Response:
        """One result, or those of a batch; what was done is noted for log and metrics."""
        request.state.work.update(model=of.served.name, texts=len(results), tokens=tokens)
        if texts is not None:
            return _json({"model": of.served.name, "results": results})
        return _json({"model": of.served.name, **results[0]})

    def documented(summary: str, one: Any, batch: Any, example: dict[str, Any], **more: Any) -> dict[str, Any]:
        """What OpenAPI says of a route; `example` is a real answer of the default model."""
        shown = {200: {"content": {"application/json": {"example": {"model": default, **example}}}}}
        return {"summary": summary, "response_model": one | batch, "responses": {**PROBLEMS, **shown, **more}}

    tokenizer, filler = work[default].served.tokenizer, work[default].served.filler
    [row] = tokenizer.rows([contract.EXAMPLE], Options())
    masks = filler.fill([contract.MASKED], 3)[0] if filler else []
    no_model = {"409": {**PROBLEMS[404], "description": "The model has no model.onnx"}}

    @app.post(
        "/v1/tokenize",
        **documented("Texts to tokens", contract.TokensOne, contract.TokensBatch, {"tokens": row.tokens[1:-1]}),
    )
    async def tokenize(request: Request, given: requests.tokenize) -> Response:  # type: ignore[name-defined]
        of, texts = chosen(given.model), getattr(given, "texts", None)
        found = await of.tokens.ask((texts or [given.text], Options()))
        return answer(request, of, [{"tokens": row} for row in found], sum(map(len, found)), texts)

    @app.post("/v1/encode", **documented("Texts to ids", contract.EncodingOne, contract.EncodingBatch, row._asdict()))
    async def encode(request: Request, given: requests.encode) -> Response:  # type: ignore[name-defined]
        of, texts = chosen(given.model), getattr(given, "texts", None)
        rows = await of.rows.ask((texts or [given.text], Options(given.special_tokens, given.max_length)))
        return answer(request, of, [row._asdict() for row in rows], sum(len(row.tokens) for row in rows), texts)

    @app.post(
        "/v1/decode",
        **documented("Ids to texts", contract.TextOne, contract.TextBatch, {"text": tokenizer.decode(row.input_ids)}),
    )
    async def decode(request: Request, given: requests.decode) -> Response:  # type: ignore[name-defined]
        of, batch = chosen(given.model), getattr(given, "batch", None)
        rows = batch or [given.ids]
        try:
            results = [{"text": of.served.tokenizer.decode(row, given.skip_special_tokens)} for row in rows]
        except ValueError as error:
            raise Refused(404, f"{of.served.name}: {error}") from None
        return answer(request, of, results, sum(map(len, rows)), batch)

    @app.post(
        "/v1/fill-mask",
        **documented(
            "What the model puts for each [MASK]", contract.MasksOne, contract.MasksBatch,
            {"masks": [mask.as_json() for mask in masks]}, **no_model,
        ),
    )  # fmt: skip
    async def fill_mask(request: Request, given: requests.fill_mask) -> Response:  # type: ignore[name-defined]
        of, texts = chosen(given.model), getattr(given, "texts", None)
        if of.served.filler is None:
            raise Refused(409, f"{of.served.name} has no model.onnx, which fills masks")
        rows = await of.rows.ask((texts or [given.text], Options()))
        try:
            of.served.filler.check(rows)
        except Unfit as unfit:
            raise Refused(422, f"texts[{unfit.place}]: {unfit}" if texts else f"text: {unfit}") from None
        masks = await of.fills.ask((rows, given.top_k))
        results = [{"masks": [mask.as_json() for mask in each]} for each in masks]
        return answer(request, of, results, sum(len(row.tokens) for row in rows), texts)


def _add_health(app: FastAPI, models: dict[str, Served], default: str, metrics: Metrics) -> None:
    listed = _json({"default": default, "models": [served.described() for served in models.values()]})

    @app.get("/v1/models", response_model=contract.Models, summary="The models that are served")
    async def list_models() -> Response:
        return listed

    @app.get("/healthz", response_model=contract.State, summary="Whether the process is alive")
    async def health() -> Response:
        return _json({"status": "alive"})

    @app.get(
        "/readyz", response_model=contract.State, summary="Whether it takes requests",
        responses={503: {"model": contract.State, "description": "It is about to end"}},
    )  # fmt: skip
    async def ready() -> Response:
        if app.state.ready:
            return _json({"status": "ready"})
        return Response(orjson.dumps({"status": "ending"}), 503, media_type="application/json")

    @app.get("/metrics", response_class=Response, summary="Counters, for Prometheus",
             responses={200: {"content": {MEDIA_TYPE.split(";")[0]: {}}}})  # fmt: skip
    async def show_metrics() -> Response:
        return Response(metrics.page(), headers={"content-type": MEDIA_TYPE})


def _add_page(app: FastAPI) -> None:
    """The page at `/`, and its files, which are read once."""

    def add(path: str, name: str, body: bytes) -> None:
        kind = KINDS["." + name.rpartition(".")[2]]
        headers = {
            "content-type": f"{kind}; charset=utf-8",
            "cache-control": "no-cache",
            "content-security-policy": POLICY,
        }

        async def show() -> Response:
            return Response(body, headers=headers)

        app.add_api_route(path, show, include_in_schema=False)

    for file in resources.files("stages.serve").joinpath("page").iterdir():
        if "." + file.name.rpartition(".")[2] in KINDS:
            add("/" if file.name == "index.html" else f"/page/{file.name}", file.name, file.read_bytes())


def _add_problems(app: FastAPI) -> None:
    def answer(status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
        return Response(problem(status, detail), status, headers, PROBLEM.decode())

    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> Response:
        return answer(error.status, error.detail, error.headers)

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> Response:
        return answer(error.status_code, str(error.detail), dict(error.headers or {}))

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        return answer(422, "; ".join(map(_fault, error.errors()[:5])))

    @app.exception_handler(404)
    async def nowhere(_: Request, error: Exception) -> Response:
        return answer(404, "there is nothing here; / is a page, and /openapi.json says what can be asked")


def _fault(fault: dict[str, Any]) -> str:
    """What is wrong with a request and where, as `texts[3]: …`: never the value, which may be the text."""
    _, *steps = fault["loc"]
    if fault["type"] == "json_invalid":
        return f"the body is not JSON, from byte {steps[0]} on: {fault['ctx']['error']}"
    place = ""
    for step in steps[1:]:  # The first one says which kind of request it was taken for.
        place += f"[{step}]" if isinstance(step, int) else step
    return f"{place or 'the body'}: {fault['msg']}"
