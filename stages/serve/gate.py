"""The gate in front of the application: it limits sizes and times, and counts and logs answers, without any text."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import secrets
import sys
import time
import traceback
from http import HTTPStatus
from typing import Any

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stages.serve.contract import Limits
from stages.serve.metrics import Metrics

PROBLEM_TYPE = b"application/problem+json"
# A client's own X-Request-Id. Any other gets a random one, since it is logged.
REQUEST_ID = re.compile(r"[\w.-]{1,64}", re.ASCII)
# Seconds for which a client that is still sending a refused body may pause.
LINGER = 5.0
SAFETY_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
]


class HttpRefusal(Exception):
    """A request that is answered with a problem."""

    def __init__(self, status: int, detail: str, **headers: str) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers


def problem(status: int, detail: str) -> bytes:
    """An error for a client, as in RFC 9457."""
    return orjson.dumps({"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail})


def log(event: str, **fields: Any) -> None:
    """A line of JSON on standard error."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + f".{time.time_ns() // 1_000_000 % 1000:03d}Z"
    print(json.dumps({"time": stamp, "event": event, **fields}, ensure_ascii=False), file=sys.stderr, flush=True)


class LogLines(logging.Handler):
    """The messages of uvicorn, such as for a request that is not HTTP, in the same form."""

    def emit(self, record: logging.LogRecord) -> None:
        more = {"traceback": "".join(traceback.format_exception(*record.exc_info))} if record.exc_info else {}
        log("server", level=record.levelname.lower(), message=record.getMessage(), **more)


class Gate:
    """An ASGI application around another one.

    The gate reads the whole body: 413 for a body over the limit, 408 for one that does not arrive in time. It answers
    503 beyond `limits.waiting` concurrent requests, and to a request that takes too long. Logs and metrics name only
    the application's routes, since any other path is text of a client.
    """

    def __init__(self, app: ASGIApp, limits: Limits, metrics: Metrics, routes: frozenset[str], logs: bool) -> None:
        self._app, self._limits, self._metrics, self._routes, self._logs = app, limits, metrics, routes, logs
        self._waiting = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        headers = dict(scope["headers"])
        client_id = headers.get(b"x-request-id", b"").decode("latin-1")
        request_id = client_id if REQUEST_ID.fullmatch(client_id) else secrets.token_hex(8)
        route = scope["path"] if scope["path"] in self._routes else "other"
        work: dict[str, Any] = {}  # filled by the application
        scope.setdefault("state", {})["work"] = work
        status, unread = 0, False

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *SAFETY_HEADERS, (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            await self._apply_limits(scope, headers, receive, answer)
        except HttpRefusal as refusal:
            if not status:
                unread = refusal.headers.get("connection") == "close"
                await _refuse(answer, refusal, last=not unread)
        except Exception as error:
            log("bug", request=request_id, route=route, error=type(error).__name__, traceback=traceback.format_exc())
            if not status:
                await _refuse(answer, HttpRefusal(500, "the service has a bug; its log has the details"))
        finally:
            seconds = time.perf_counter() - start
            self._metrics.count_request(route, status, seconds)
            if work:
                self._metrics.count_texts(route, work["model"], work["texts"], work["tokens"])
            if self._logs:
                log(
                    "request", request=request_id, method=scope["method"], route=route, status=status,
                    milliseconds=round(seconds * 1e3, 3), **work,
                )  # fmt: skip
        if unread:
            await self._drain(receive)
            await send({"type": "http.response.body"})

    async def _drain(self, receive: Receive) -> None:
        """Read the rest of a refused body, so that the client reads the answer.

        On a closed connection the kernel answers further data with a reset, and a client that is still sending loses
        the answer (RFC 9112, section 9.6). Draining ends after the time of a request, or a pause of `LINGER`.
        """
        more = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._limits.seconds):
                while more:
                    message = await asyncio.wait_for(receive(), LINGER)
                    more = message["type"] == "http.request" and message.get("more_body", False)

    async def _apply_limits(self, scope: Scope, headers: dict[bytes, bytes], receive: Receive, send: Send) -> None:
        if not (scope["path"].startswith("/v1/") and scope["method"] == "POST"):
            await self._app(scope, receive, send)
            return
        if self._waiting >= self._limits.waiting:
            raise HttpRefusal(503, f"{self._waiting} requests are waiting; try again", **{"retry-after": "1"})
        media_type = headers.get(b"content-type", b"application/json").split(b";")[0].strip().lower()
        if media_type != b"application/json":
            raise HttpRefusal(415, "a request is JSON: Content-Type: application/json")
        self._waiting += 1
        self._metrics.waiting.set(self._waiting)
        complete = False
        try:
            async with asyncio.timeout(self._limits.seconds):
                body = await self._read_body(headers, receive)
                complete = True
                if body is not None:
                    await self._app(scope, _replay(body, receive), send)
        except TimeoutError:
            seconds = f"{self._limits.seconds:g} s"
            if not complete:
                raise HttpRefusal(408, f"the request was incomplete after {seconds}", connection="close") from None
            detail = f"there was no answer after {seconds}; try again, or send less text in one request"
            raise HttpRefusal(503, detail, **{"retry-after": "1"}) from None
        finally:
            self._waiting -= 1
            self._metrics.waiting.set(self._waiting)

    async def _read_body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes | None:
        """The body of a request; None if the client has disconnected."""
        limit = self._limits.body
        too_large = HttpRefusal(
            413, f"the body has over {limit} bytes; send fewer texts in one request", connection="close"
        )
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > limit:
            raise too_large
        parts, size = [], 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > limit:
                raise too_large
            if not message.get("more_body", False):
                return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that returns the body first."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_body_first() -> Message:
        return messages.pop() if messages else await receive()

    return receive_body_first


async def _refuse(send: Send, refusal: HttpRefusal, last: bool = True) -> None:
    """Send a refusal. Unless it is the `last` message, the connection stays open until that is sent."""
    body = problem(refusal.status, refusal.detail)
    headers = [
        (b"content-type", PROBLEM_TYPE),
        (b"content-length", str(len(body)).encode()),
        *((name.encode(), value.encode()) for name, value in refusal.headers.items()),
    ]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": not last})
