"""The service: every route against the command's own answers, what it refuses and how, what it logs, how it ends."""

import gzip
import http.client
import json
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from scripts.bench.measured.random_requests import Draw
from tests.conftest import Run
from tests.serve.conftest import Answer, Service, serving

TEXT = "日本の首都は[MASK]である。㌔と𠮷野家。"
MODELS = ("character/tiny", "wordpiece_tinysegmenter/tiny")


@contextmanager
def connection(service: Service) -> Iterator[http.client.HTTPConnection]:
    address = urlsplit(service.address)
    line = http.client.HTTPConnection(str(address.hostname), address.port, timeout=30)
    with closing(line):
        yield line


def test_it_lists_its_models(service: Service) -> None:
    listed = service.get("/v1/models").json
    assert listed["default"] == "character/tiny"
    assert [(each["name"], each["subword_tokenizer_type"]) for each in listed["models"]] == [
        ("character/tiny", "character"),
        ("wordpiece_tinysegmenter/tiny", "wordpiece"),
    ]
    assert all(each["fill_mask"] and each["max_length"] == 64 for each in listed["models"])


@pytest.mark.parametrize("model", MODELS)
def test_answers_are_those_of_the_command(service: Service, run_stage: Run, models_with_onnx: Path, model: str) -> None:
    def command(name: str, *flags: object) -> Any:
        line = run_stage(
            "tokenizer", name, "--model", models_with_onnx / model, "--to", "jsonl", *flags, stdin=TEXT + "\n"
        ).stdout
        return {"model": model, **json.loads(line)}

    asked = {"text": TEXT, "model": model}
    assert service.post("/v1/tokenize", asked).json == command("tokenize")
    encoded = service.post("/v1/encode", asked).json
    assert encoded == command("encode")
    short = service.post("/v1/encode", {**asked, "special_tokens": False, "max_length": 5}).json
    assert short == command("encode", "--no-special-tokens", "--max-length", 5)
    ids = {"ids": encoded["input_ids"], "model": model}
    whole = "".join(token.removeprefix("##") for token in encoded["tokens"])
    assert service.post("/v1/decode", {**ids, "skip_special_tokens": False}).json == {"model": model, "text": whole}
    bare = whole.replace("[CLS]", "").replace("[SEP]", "").replace("[MASK]", "").replace("[UNK]", "")
    assert service.post("/v1/decode", ids).json == {"model": model, "text": bare}
    assert service.post("/v1/fill-mask", {**asked, "top_k": 3}).json == command("fill-mask", "--top-k", 3)


@pytest.mark.parametrize("route", ["tokenize", "encode", "fill-mask"])
def test_a_batch_is_its_texts_one_by_one(service: Service, route: str) -> None:
    texts = [TEXT, "[MASK]", "川と[MASK]。" * 3]
    results = service.post(f"/v1/{route}", {"texts": texts}).json["results"]
    for text, result in zip(texts, results, strict=True):
        alone = service.post(f"/v1/{route}", {"text": text}).json
        assert {"model": "character/tiny", **rounded(result)} == rounded(alone)


def rounded(value: Any) -> Any:
    """Scores to five digits: how many texts go through the model together changes the last ones."""
    if isinstance(value, float):
        return round(value, 5)
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return {name: rounded(each) for name, each in value.items()} if isinstance(value, dict) else value


def test_requests_at_the_same_time_are_worked_on_together(service: Service) -> None:
    texts = [f"{number}番目の文と[MASK]。" for number in range(64)]

    def ask(text: str) -> Any:
        return service.post("/v1/fill-mask", {"text": text, "model": "wordpiece_tinysegmenter/tiny"}).json

    with ThreadPoolExecutor(16) as threads:
        together = list(threads.map(ask, texts))
    assert [rounded(answer) for answer in together] == [rounded(ask(text)) for text in texts]
    counted = service.get("/metrics").body.decode()
    [alone] = [
        line
        for line in counted.splitlines()
        if line.startswith('tokenizer_batch_requests_bucket{le="1.0",work="fills"')
    ]
    [every] = [line for line in counted.splitlines() if line.startswith('tokenizer_batch_requests_count{work="fills"')]
    assert float(alone.split()[-1]) < float(every.split()[-1])


@pytest.mark.parametrize(
    ("route", "body", "status", "detail"),
    [
        ("tokenize", {}, 422, "text: Field required"),
        ("tokenize", {"text": 3}, 422, "text: Input should be a valid string"),
        ("tokenize", {"texts": []}, 422, "texts: List should have at least 1 item"),
        ("tokenize", {"texts": ["a", None]}, 422, "texts[1]: Input should be a valid string"),
        ("tokenize", {"texts": ["a"] * 257}, 422, "texts: List should have at most 256 items"),
        ("tokenize", {"text": "あ" * 100_001}, 422, "text: String should have at most 100000 characters"),
        ("tokenize", {"text": "a", "txt": "b"}, 422, "txt: Extra inputs are not permitted"),
        ("tokenize", {"text": "a", "model": "nobody"}, 404, "there is no such model"),
        ("tokenize", [], 422, "the body: Input should be a valid dictionary"),
        ("tokenize", b"{", 422, "the body is not JSON"),
        ("tokenize", b'{"text": "\xff"}', 422, "the body is not JSON, from byte 10 on: not UTF-8"),
        ("tokenize", '{"text": "文", }'.encode(), 422, "the body is not JSON, from byte 14 on: trailing comma is"),
        ("tokenize", '\ufeff{"text": "文"'.encode(), 422, "the body is not JSON, from byte 17 on: unexpected end of"),
        ("tokenize", {f"field {n}": 0 for n in range(50_000)}, 422, "the body has 50000 fields"),
        ("tokenize", {"text": "a", "長" * 1000: 0}, 422, "長" * 40 + ": Extra inputs are not permitted"),
        ("tokenize", {"texts": ["あ" * 50_001] * 2}, 422, "the request has 100002 characters; 100000 are allowed"),
        ("tokenize", {"text": "\ufdfa" * 20_000}, 422, "the texts have 300000 tokens once they are normalised"),
        ("tokenize", b'{"text": "\\ud800"}', 422, "the body is not JSON"),
        ("tokenize", b"[" * 100_000, 422, "the body is not JSON"),
        ("tokenize", b" " * (1 << 21), 413, "the body has over 1048576 bytes"),
        ("encode", {"text": "a", "max_length": 2}, 422, "max_length: Input should be greater than or equal to 3"),
        ("encode", {"text": "a", "special_tokens": "yes"}, 422, "special_tokens: Input should be a valid boolean"),
        ("decode", {"ids": [-1]}, 422, "ids[0]: Input should be greater than or equal to 0"),
        ("decode", {"ids": [1 << 40]}, 422, "ids[0]: Input should be less than"),
        ("decode", {"batch": [[2], [1500]]}, 404, "character/tiny: id 1500 at place 0 is none of 0 to"),
        ("decode", {"ids": ["3"] * 90_000}, 422, "ids[0]: Input should be a valid integer"),
        ("decode", {"batch": [[2] * 90_000] * 2}, 422, "the request has 180000 ids; 100000 are allowed"),
        ("decode", {"batch": [[2], ["3"]]}, 422, "batch[1][0]: Input should be a valid integer"),
        ("fill-mask", {"text": "私は"}, 422, "text: there is no [MASK] in the text"),
        ("fill-mask", {"texts": ["[MASK]", "私は"]}, 422, "texts[1]: there is no [MASK] in the text"),
        ("fill-mask", {"text": "[MASK]" + "あ" * 62}, 422, "text: 65 tokens, and the model takes 64"),
        ("fill-mask", {"texts": ["[MASK]"] * 65}, 422, "texts: List should have at most 64 items"),
        ("fill-mask", {"texts": ["[MASK][MASK]"] * 64, "top_k": 79}, 422, "128 masks, top_k 79: that is 10112 entries"),
        ("fill-mask", {"text": "[MASK]", "top_k": 0}, 422, "top_k: Input should be greater than or equal to 1"),
    ],
)
def test_what_is_refused(service: Service, route: str, body: Any, status: int, detail: str) -> None:
    answer = service.post(f"/v1/{route}", body)
    assert (answer.status, answer.headers["Content-Type"]) == (status, "application/problem+json")
    assert answer.json["detail"].startswith(detail)
    assert answer.json["status"] == status


def test_paths_methods_and_kinds_that_are_not_there(service: Service) -> None:
    assert service.get("/v2").status == 404
    assert service.get("/page/../__main__.py").status == 404
    assert service.get("/page/%2e%2e/__main__.py").status == 404
    method = service.get("/v1/encode")
    assert (method.status, method.headers["Allow"]) == (405, "POST")
    assert service.post("/v1/encode", b"text=a", Content_Type="application/x-www-form-urlencoded").status == 415
    packed = service.post("/v1/encode", gzip.compress(b'{"text": "a"}'), Content_Encoding="gzip")
    assert (packed.status, packed.json["detail"]) == (415, "a request is not compressed: leave out Content-Encoding")


@pytest.mark.parametrize(
    "path", ["/", "/v1/models", "/healthz", "/readyz", "/metrics", "/openapi.json", "/page/page.js"]
)
def test_head_is_get_without_a_body(service: Service, path: str) -> None:
    with connection(service) as line:
        line.request("HEAD", path)
        head = line.getresponse()
        assert (head.status, head.read()) == (200, b"")
        line.request("GET", path)
        whole = line.getresponse()
        assert whole.headers["Content-Type"] == head.headers["Content-Type"]
        assert len(whole.read()) == int(whole.headers["Content-Length"])


def test_a_byte_order_mark_before_the_body(service: Service) -> None:
    assert service.post("/v1/tokenize", b"\xef\xbb\xbf" + b'{"text": "a"}').status == 200


def test_hostile_bodies_cost_little_memory_and_hold_nothing_up(tmp_path: Path) -> None:
    """Bodies of up to 1 MiB, drawn to cost as much as they can; bench-serve measures their time."""
    with serving(tmp_path / "log", "--models", "released") as service:
        draw, health, over = Draw(1, ["character/tiny", "wordpiece_tinysegmenter/tiny"]), [200], threading.Event()

        def look() -> None:
            while not over.is_set():
                health.append(service.get("/healthz").status)

        looking = threading.Thread(target=look)
        looking.start()
        for _ in range(80):
            sent = draw.hostile()
            head, _, body = sent.data.partition(b"\r\n\r\n")
            answer = service.post(head.split()[1].decode(), body)
            assert answer.status in sent.statuses, answer.body[:300]
        over.set()
        looking.join()
        assert set(health) == {200}
        assert not [line for line in service.lines() if line["event"] == "bug"]
        [peak] = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{service.process.pid}/status").read_text())
        assert int(peak) < 500_000


def test_a_body_of_unknown_length_is_limited_too(service: Service) -> None:
    headers = {"Transfer-Encoding": "chunked", "Content-Type": "application/json"}
    with connection(service) as line:
        line.request("POST", "/v1/encode", (b" " * 65536 for _ in range(20)), headers, encode_chunked=True)
        assert line.getresponse().status == 413


def test_a_client_that_sends_all_of_a_body_that_is_too_long_gets_to_read_why(service: Service) -> None:
    with connection(service) as line:
        begin(line, b" ", 8 << 20)
        # By now the answer is there; the client looks only when all is sent.
        time.sleep(0.3)
        for _ in range(8):
            line.send(b" " * (1 << 20))
        answer = line.getresponse()
        assert (answer.status, answer.headers["Connection"]) == (413, "close")
        assert json.loads(answer.read())["detail"].startswith("the body has over 1048576 bytes")
        assert line.sock is None


def test_the_log_has_what_was_done_and_no_text(service: Service) -> None:
    secret = "秘密の文"
    service.post("/v1/encode", {"text": secret}, X_Request_Id="my-own.name_1")
    service.post("/v1/encode", {"text": secret, "model": secret})
    service.post("/v1/decode", {"ids": [secret]})
    service.get("/" + "himitsu")
    assert secret not in service.log.read_text(encoding="utf-8")
    assert "himitsu" not in service.log.read_text(encoding="utf-8")
    assert "himitsu" not in service.get("/metrics").body.decode()
    [line] = [line for line in service.lines() if line.get("request") == "my-own.name_1"]
    assert line["event"] == "request"
    assert (line["route"], line["status"], line["model"], line["texts"]) == ("/v1/encode", 200, "character/tiny", 1)
    assert line["tokens"] == 6
    assert line["milliseconds"] > 0


def test_a_name_that_is_none_is_not_logged(service: Service) -> None:
    answer = service.post("/v1/encode", {"text": "a"}, X_Request_Id="x" * 65)
    assert len(answer.headers["X-Request-Id"]) == 16


def test_health_readiness_and_metrics(service: Service) -> None:
    assert service.get("/healthz").json == {"status": "alive"}
    assert service.get("/readyz").json == {"status": "ready"}
    service.post("/v1/tokenize", {"texts": ["私", "は"]})
    counted = service.get("/metrics")
    assert counted.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    for line in (
        'tokenizer_requests_total{route="/v1/tokenize",status="200"}',
        'tokenizer_texts_total{model="character/tiny",route="/v1/tokenize"}',
        'tokenizer_request_seconds_bucket{le="0.001",route="/v1/tokenize"}',
        "process_resident_memory_bytes",
        "tokenizer_waiting_requests 0.0",
    ):
        assert line in counted.body.decode()


def test_the_page_may_use_nothing_but_this_service(service: Service) -> None:
    page = service.get("/")
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert page.headers["X-Content-Type-Options"] == "nosniff"


def test_openapi_has_an_example_for_every_request_and_real_ones_for_answers(service: Service) -> None:
    described = service.get("/openapi.json").json
    for name in ("tokenize", "encode", "decode", "fill-mask"):
        operation = described["paths"][f"/v1/{name}"]["post"]
        for option in operation["requestBody"]["content"]["application/json"]["schema"]["oneOf"]:
            [example] = described["components"]["schemas"][option["$ref"].rpartition("/")[2]]["examples"]
            answer = service.post(f"/v1/{name}", example)
            assert answer.status == 200, answer.body
        shown = operation["responses"]["200"]["content"]["application/json"]["example"]
        assert shown["model"] == "character/tiny"
    masks = described["paths"]["/v1/fill-mask"]["post"]["responses"]["200"]["content"]["application/json"]["example"]
    asked = {"text": "日本の首都は[MASK]である。", "top_k": 3}
    assert rounded(masks) == rounded(service.post("/v1/fill-mask", asked).json)
    encode = described["paths"]["/v1/encode"]["post"]["responses"]["200"]["content"]["application/json"]["example"]
    assert service.post("/v1/encode", {"text": "日本語の文を、小さな単位に分ける。"}).json == encode


def begin(line: http.client.HTTPConnection, body: bytes, length: int) -> None:
    """Send the beginning of a request, whose body has `length` bytes."""
    line.putrequest("POST", "/v1/encode")
    line.putheader("Content-Type", "application/json")
    line.putheader("Content-Length", str(length))
    line.endheaders(body)


def test_told_to_end_it_answers_what_it_has_accepted(models_with_onnx: Path, tmp_path: Path) -> None:
    body = json.dumps({"text": TEXT}).encode()
    with serving(tmp_path / "log", "--models", models_with_onnx) as service, connection(service) as line:
        begin(line, body[:5], len(body))
        assert service.get("/readyz").json == {"status": "ready"}
        service.process.send_signal(signal.SIGTERM)
        end = time.monotonic() + 10
        while _listens(service):
            assert time.monotonic() < end
            time.sleep(0.05)
        assert service.process.poll() is None
        line.send(body[5:])
        assert json.loads(line.getresponse().read())["model"] == "character/tiny"
        assert service.process.wait(30) == 0
        assert service.lines()[-1]["event"] == "ended"


def _listens(service: Service) -> bool:
    address = urlsplit(service.address)
    try:
        socket.create_connection((str(address.hostname), address.port)).close()
    except ConnectionRefusedError:
        return False
    return True


def test_a_request_that_does_not_come_whole_in_time(models_with_onnx: Path, tmp_path: Path) -> None:
    flags = ["--models", models_with_onnx, "--timeout", 0.3]
    with serving(tmp_path / "log", *flags) as service, connection(service) as line:
        begin(line, b"{", 100)
        answer = line.getresponse()
        assert (answer.status, json.loads(answer.read())["detail"]) == (408, "the request was incomplete after 0.3 s")


def test_a_client_that_is_still_sending_when_its_time_is_over_gets_to_read_so(
    models_with_onnx: Path, tmp_path: Path
) -> None:
    flags = ["--models", models_with_onnx, "--timeout", 2]
    with serving(tmp_path / "log", *flags) as service, connection(service) as line:
        begin(line, b"{", 100_000)
        time.sleep(2.5)
        for _ in range(3):
            line.send(b" " * 30_000)
            time.sleep(0.1)
        answer = line.getresponse()
        assert (answer.status, answer.headers["Connection"]) == (408, "close")


def test_a_refused_body_is_not_waited_for_longer_than_a_request(models_with_onnx: Path, tmp_path: Path) -> None:
    flags = ["--models", models_with_onnx, "--timeout", 0.3]
    with serving(tmp_path / "log", *flags) as service, connection(service) as line:
        begin(line, b" ", 8 << 20)
        line.sock.settimeout(4)
        said = b"".join(iter(lambda: line.sock.recv(4096), b""))
        assert said.startswith(b"HTTP/1.1 413 ")
        assert said.endswith(b"}")


def test_a_request_that_takes_too_long(models_with_onnx: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "log", "--models", models_with_onnx, "--timeout", 0.01) as service:
        slow = service.post("/v1/fill-mask", {"texts": ["[MASK]" + "あ" * 60] * 64, "top_k": 100})
        assert (slow.status, slow.headers["Retry-After"]) == (503, "1")
        assert _until(lambda: service.post("/v1/encode", {"text": "a"}), 200).json["tokens"][0] == "[CLS]"


def test_more_requests_than_allowed_are_told_to_come_again(models_with_onnx: Path, tmp_path: Path) -> None:
    flags = ["--models", models_with_onnx, "--max-waiting", 2]
    with serving(tmp_path / "log", *flags) as service:
        with connection(service) as one, connection(service) as other:
            begin(one, b"{", 100)
            begin(other, b"{", 100)
            answer = _until(lambda: service.post("/v1/encode", {"text": "a"}), 503)
            assert answer.headers["Retry-After"] == "1"
            assert service.get("/healthz").status == 200
        assert _until(lambda: service.post("/v1/encode", {"text": "a"}), 200).status == 200


def _until(ask: Any, status: int) -> Answer:
    """Ask until the answer has this status: what was sent on other connections may not have come yet."""
    end = time.monotonic() + 10
    while (answer := ask()).status != status:
        assert time.monotonic() < end, answer
    return answer  # type: ignore[no-any-return]


def test_a_client_that_goes_away_harms_nobody(service: Service) -> None:
    address = urlsplit(service.address)
    for _ in range(20):
        gone = socket.create_connection((str(address.hostname), address.port))
        body = json.dumps({"text": "[MASK]" + "山" * 50}).encode()
        head = f"POST /v1/fill-mask HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
        gone.sendall(head.encode() + body)
        gone.close()
    assert service.post("/v1/fill-mask", {"text": "[MASK]"}).status == 200
    assert not [line for line in service.lines() if line["event"] == "bug"]


def test_what_is_no_http_is_logged_as_json_too(service: Service) -> None:
    address = urlsplit(service.address)
    with socket.create_connection((str(address.hostname), address.port)) as line:
        line.sendall("秘密\r\n\r\n".encode())
        assert line.recv(100).startswith(b"HTTP/1.1 400 ")
    assert {"event": "server", "level": "warning", "message": "Invalid HTTP request received."} in [
        {name: value for name, value in line.items() if name != "time"} for line in service.lines()
    ]


def test_one_folder_alone_and_a_model_without_onnx(models_with_onnx: Path, tmp_path: Path) -> None:
    folder = tmp_path / "plain"
    folder.mkdir()
    for name in ("vocab.txt", "tokenizer_config.json"):
        (folder / name).write_bytes((models_with_onnx / "character/tiny" / name).read_bytes())
    with serving(tmp_path / "log", "--models", folder, "--quiet") as service:
        [model] = service.get("/v1/models").json["models"]
        assert (model["name"], model["fill_mask"]) == ("plain", False)
        assert service.post("/v1/encode", {"text": "山"}).status == 200
        answer = service.post("/v1/fill-mask", {"text": "[MASK]"})
        assert (answer.status, answer.json["detail"]) == (409, "plain has no model.onnx, which fills masks")
        assert [line["event"] for line in service.lines()] == ["listening"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--models", "/no/such"], "there is no folder /no/such; make convert writes models into it"),
        (["--models", "EMPTY"], "no folder below EMPTY has vocab.txt and tokenizer_config.json"),
        (["--models", "MODELS", "--default", "x"], "--default is x; the models below MODELS are character/tiny, wordp"),
        (["--models", "MODELS", "--port", "TAKEN"], "cannot listen on 127.0.0.1 port TAKEN: Address already in use"),
        (["--models", "MODELS", "--port", "70000"], "--port: 70000 is no whole number from 0 to 65535"),
        (["--models", "MODELS", "--timeout", "0"], "--timeout: 0 is no number of 0.001 or more"),
    ],
)
def test_refused_before_it_serves(
    run_stage: Run, models_with_onnx: Path, tmp_path: Path, flags: list[str], message: str
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for name, value in (("MODELS", models_with_onnx), ("EMPTY", tmp_path), ("TAKEN", taken.getsockname()[1])):
            flags = [flag.replace(name, str(value)) for flag in flags]
            message = message.replace(name, str(value))
        assert message in run_stage("serve", *flags, code=2).stderr


def test_a_damaged_model_is_refused(run_stage: Run, models_with_onnx: Path, tmp_path: Path) -> None:
    for name in ("vocab.txt", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((models_with_onnx / "character/tiny" / name).read_bytes())
    (tmp_path / "model.onnx").write_bytes(b"no model")
    assert f"cannot read {tmp_path}/model.onnx" in run_stage("serve", "--models", tmp_path, code=2).stderr
    (tmp_path / "model.onnx").write_bytes((models_with_onnx / "wordpiece_tinysegmenter/tiny/model.onnx").read_bytes())
    assert "they are of two models" in run_stage("serve", "--models", tmp_path, code=2).stderr


def test_many_clients_at_once_all_get_their_own_answer(service: Service) -> None:
    wrong: list[str] = []
    texts = [f"{client}番の{number}回" for client in range(16) for number in range(30)]
    results = service.post("/v1/encode", {"texts": texts[:256]}).json["results"]
    results += service.post("/v1/encode", {"texts": texts[256:]}).json["results"]
    expected = {text: result["input_ids"] for text, result in zip(texts, results, strict=True)}

    def ask(client: int) -> None:
        with connection(service) as line:
            for number in range(30):
                text = f"{client}番の{number}回"
                line.request("POST", "/v1/encode", json.dumps({"text": text}), {"Content-Type": "application/json"})
                if json.loads(line.getresponse().read())["input_ids"] != expected[text]:
                    wrong.append(text)

    clients = [threading.Thread(target=ask, args=(client,)) for client in range(16)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert not wrong
