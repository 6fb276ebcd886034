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
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive, Scope, Send

from stages.serve import metrics
from stages.serve.options import Options

PROBLEM_TYPE = "application/problem+json"
# A client's own X-Request-Id. Any other gets a random one, since it is logged.
REQUEST_ID = re.compile(r"[\w.-]{1,64}", re.ASCII)
# Seconds for which a client that is still sending a refused body may pause.
LINGER = 5.0
SAFETY_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
]
AGAIN = {"retry-after": "1"}
CLOSE = {"connection": "close"}


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
    """An ASGI application around the one of the service.

    The gate reads the whole body: 413 for a body over the limit, 408 for one that does not arrive in time. It answers
    503 beyond `max_waiting` concurrent requests, and to a request that takes too long. Logs and metrics name only the
    application's routes, since any other path is text of a client.
    """

    def __init__(self, app: FastAPI, options: Options) -> None:
        self.app, self._options = app, options
        self._routes = {route.path for route in app.routes if hasattr(route, "path")}
        self._waiting = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
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
            if scope["path"].startswith("/v1/") and scope["method"] == "POST":
                await self._apply_limits(scope, headers, receive, answer)
            else:
                # The server leaves out the body of an answer to HEAD.
                get = {"method": "GET"} if scope["method"] == "HEAD" else {}
                await self.app({**scope, **get}, receive, answer)
        except HTTPException as refusal:
            if not status:
                unread = refusal.headers == CLOSE
                await _refuse(answer, refusal, last=not unread)
        except ClientDisconnect:
            pass  # before its body was complete
        except Exception as error:
            log("bug", request=request_id, route=route, error=type(error).__name__, traceback=traceback.format_exc())
            if not status:
                await _refuse(answer, HTTPException(500, "the service has a bug; its log has the details"))
        finally:
            seconds = time.perf_counter() - start
            metrics.REQUESTS.labels(route, status).inc()
            metrics.REQUEST_SECONDS.labels(route).observe(seconds)
            if work:
                metrics.TEXTS.labels(route, work["model"]).inc(work["texts"])
                metrics.TOKENS.labels(route, work["model"]).inc(work["tokens"])
            if not self._options.quiet:
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
            async with asyncio.timeout(self._options.timeout):
                while more:
                    message = await asyncio.wait_for(receive(), LINGER)
                    more = message["type"] == "http.request" and message.get("more_body", False)

    async def _apply_limits(self, scope: Scope, headers: dict[bytes, bytes], receive: Receive, send: Send) -> None:
        if self._waiting >= self._options.max_waiting:
            raise HTTPException(503, f"{self._waiting} requests are waiting; try again", AGAIN)
        media_type = headers.get(b"content-type", b"application/json").split(b";")[0].strip().lower()
        if media_type != b"application/json":
            raise HTTPException(415, "a request is JSON: Content-Type: application/json")
        if headers.get(b"content-encoding", b"identity").strip().lower() != b"identity":
            raise HTTPException(415, "a request is not compressed: leave out Content-Encoding")
        self._waiting += 1
        metrics.WAITING.set(self._waiting)
        complete = False
        try:
            async with asyncio.timeout(self._options.timeout):
                scope["body"] = await self._read_body(Request(scope, receive), headers)
                complete = True
                await self.app(scope, receive, send)
        except TimeoutError:
            seconds = f"{self._options.timeout:g} s"
            if not complete:
                raise HTTPException(408, f"the request was incomplete after {seconds}", CLOSE) from None
            detail = f"there was no answer after {seconds}; try again, or send less text in one request"
            raise HTTPException(503, detail, AGAIN) from None
        finally:
            self._waiting -= 1
            metrics.WAITING.set(self._waiting)

    async def _read_body(self, request: Request, headers: dict[bytes, bytes]) -> bytes:
        limit = self._options.max_body
        too_large = HTTPException(413, f"the body has over {limit} bytes; send fewer texts in one request", CLOSE)
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > limit:
            raise too_large
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                raise too_large
        return bytes(body)


async def _refuse(send: Send, refusal: HTTPException, last: bool = True) -> None:
    """Send a refusal. Unless it is the `last` message, the connection stays open until that is sent."""
    body = problem(refusal.status_code, refusal.detail)
    headers = {"content-type": PROBLEM_TYPE, "content-length": str(len(body)), **(refusal.headers or {})}
    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refusal.status_code, "headers": encoded})
    await send({"type": "http.response.body", "body": body, "more_body": not last})
