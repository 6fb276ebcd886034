"""Every request passes here: sizes and times are limited, answers counted and logged, without any text."""

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

PROBLEM = b"application/problem+json"
# What a client calls its request, if it is no more than a name.
REQUEST_ID = re.compile(r"[\w.-]{1,64}", re.ASCII)
# Seconds for which a client that is still sending a refused body may pause.
LINGER = 5.0
SAFE = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
]


class Refused(Exception):
    """A request that gets a problem for an answer."""

    def __init__(self, status: int, detail: str, **headers: str) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers


def problem(status: int, detail: str) -> bytes:
    """An error for a client, as RFC 9457 has it."""
    return orjson.dumps({"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail})


def log(event: str, **fields: Any) -> None:
    """A line of JSON on standard error."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + f".{time.time_ns() // 1_000_000 % 1000:03d}Z"
    print(json.dumps({"time": stamp, "event": event, **fields}, ensure_ascii=False), file=sys.stderr, flush=True)


class LogLines(logging.Handler):
    """What the server itself has to say, such as of a request that is not HTTP, in the same form."""

    def emit(self, record: logging.LogRecord) -> None:
        more = {"traceback": "".join(traceback.format_exception(*record.exc_info))} if record.exc_info else {}
        log("server", level=record.levelname.lower(), message=record.getMessage(), **more)


class Gate:
    """An ASGI application around another one.

    A body is read here, whole: a longer one than allowed gets 413, one that does not come in time 408. Beyond `waiting`
    concurrent requests, and beyond the time that an answer may take, 503. Only routes that are known are named in
    logs and metrics, since any other path is what a client made up.
    """

    def __init__(self, app: ASGIApp, limits: Limits, metrics: Metrics, routes: frozenset[str], logs: bool) -> None:
        self._app, self._limits, self._metrics, self._routes, self._logs = app, limits, metrics, routes, logs
        self._waiting = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.perf_counter()
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"").decode("latin-1")
        name = given if REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        route = scope["path"] if scope["path"] in self._routes else "other"
        state = scope.setdefault("state", {})
        state["work"] = {}
        status, unread = 0, False

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *SAFE, (b"x-request-id", name.encode())]
            await send(message)

        try:
            await self._limited(scope, headers, receive, answer)
        except Refused as refused:
            if not status:
                unread = refused.headers.get("connection") == "close"
                await _refuse(answer, refused, last=not unread)
        except Exception as error:
            log("bug", request=name, route=route, error=type(error).__name__, traceback=traceback.format_exc())
            if not status:
                await _refuse(answer, Refused(500, "this is a bug of the service; its log says more"))
        finally:
            seconds = time.perf_counter() - begun
            self._metrics.answered(route, status, seconds)
            work = state["work"]
            if work:
                self._metrics.worked(route, work["model"], work["texts"], work["tokens"])
            if self._logs:
                log(
                    "request", request=name, method=scope["method"], route=route, status=status,
                    milliseconds=round(seconds * 1e3, 3), **work,
                )  # fmt: skip
        if unread:
            await self._read_away(receive)
            await send({"type": "http.response.body"})

    async def _read_away(self, receive: Receive) -> None:
        """Read the rest of a body that is refused: a connection closed before would take the answer with it.

        The kernel answers what still comes with a reset, on which a client that is still sending gives up and never
        reads why (RFC 9112, section 9.6). It may take as long as any request; one that pauses for `LINGER` has gone.
        """
        more = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._limits.seconds):
                while more:
                    message = await asyncio.wait_for(receive(), LINGER)
                    more = message["type"] == "http.request" and message.get("more_body", False)

    async def _limited(self, scope: Scope, headers: dict[bytes, bytes], receive: Receive, send: Send) -> None:
        work = scope["path"].startswith("/v1/") and scope["method"] == "POST"
        if not work:
            await self._app(scope, receive, send)
            return
        if self._waiting >= self._limits.waiting:
            raise Refused(503, f"{self._waiting} requests are waiting; try again", **{"retry-after": "1"})
        kind = headers.get(b"content-type", b"application/json").split(b";")[0].strip().lower()
        if kind != b"application/json":
            raise Refused(415, "a request is JSON: Content-Type: application/json")
        self._waiting += 1
        self._metrics.waiting.set(self._waiting)
        read = False
        try:
            async with asyncio.timeout(self._limits.seconds):
                body = await self._body(headers, receive)
                read = True
                if body is not None:
                    await self._app(scope, _given(body, receive), send)
        except TimeoutError:
            seconds = f"{self._limits.seconds:g} s"
            if not read:
                raise Refused(408, f"the request was not whole after {seconds}", connection="close") from None
            detail = f"there was no answer after {seconds}; try again, or ask for less in one request"
            raise Refused(503, detail, **{"retry-after": "1"}) from None
        finally:
            self._waiting -= 1
            self._metrics.waiting.set(self._waiting)

    async def _body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes | None:
        """The body of a request; None where the client has gone."""
        most = self._limits.body
        too_large = Refused(413, f"the body has over {most} bytes; send fewer texts in one request", connection="close")
        stated = headers.get(b"content-length", b"0")
        if not stated.isdigit() or int(stated) > most:
            raise too_large
        parts, size = [], 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > most:
                raise too_large
            if not message.get("more_body", False):
                return b"".join(parts)


def _given(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body first."""
    given = False

    async def whole() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return whole


async def _refuse(send: Send, refused: Refused, last: bool = True) -> None:
    """Send a refusal; where it is not the `last` message, the connection stays open until that comes."""
    body = problem(refused.status, refused.detail)
    headers = [(name.encode(), value.encode()) for name, value in refused.headers.items()]
    size = (b"content-length", str(len(body)).encode())
    await send(
        {
            "type": "http.response.start",
            "status": refused.status,
            "headers": [(b"content-type", PROBLEM), size, *headers],
        }
    )
    await send({"type": "http.response.body", "body": body, "more_body": not last})
