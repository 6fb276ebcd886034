"""A folder of models → the service as `serve` runs it, and POST /v1/constant, whose answer is a constant.

The gate, which reads the body and logs, and the configuration of uvicorn are those of `serve`.
"""

import socket

from fastapi import Response

from stages.serve.__main__ import answer
from stages.serve.app import application
from stages.serve.gate import log
from stages.serve.models import read_models
from stages.serve.options import Options


def main(folder: str) -> None:
    models = read_models(folder, threads=0)
    options = Options(folder)
    gate = application(models, next(iter(models)), options)

    @gate.app.post("/v1/constant", include_in_schema=False)
    async def constant() -> Response:
        return Response(b'{"model":"constant"}', media_type="application/json")

    with socket.socket() as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", 0))
        bound.listen(2048)
        log("listening", address=f"http://127.0.0.1:{bound.getsockname()[1]}")
        answer(gate, bound, options.timeout)
