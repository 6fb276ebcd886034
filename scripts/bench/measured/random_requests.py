"""A seed and models → random requests to the service, valid and invalid, with the statuses that they may get."""

import random
from typing import Any, NamedTuple

import orjson

# Kinds of requests and their weights.
KINDS = {
    "usual": 50,
    "a batch": 10,
    "long": 2,
    "get": 12,
    "wrong types": 6,
    "broken JSON": 5,
    "wrong UTF-8": 3,
    "too large": 1,
    "unknown model": 4,
    "unknown path": 4,
    "wrong method": 2,
    "not called JSON": 1,
}
# Routes and their weights: a mask takes thirty times as long as a sentence's tokens.
POST = {"/v1/tokenize": 3, "/v1/encode": 3, "/v1/decode": 3, "/v1/fill-mask": 1}
GET = ("/", "/v1/models", "/healthz", "/readyz", "/metrics", "/openapi.json")
UNKNOWN = ("/v1", "/v1/", "/v1/encode/x", "/page/none.js", "/page/..%2f..%2fapp.py", "/%00", "/v2/encode")
JAPANESE = [chr(point) for ends in ("ぁん", "ァヶ", "一龠") for point in range(*map(ord, ends))]
# Everything but surrogates, which UTF-8 cannot hold.
ALL_PLANES = [range(0x20, 0xD800), range(0xE000, 0x110000)]
MASK = "[MASK]"
# What is costly to normalise, to cut, to locate or to answer: marks in the worst order, one character that becomes 18,
# what composes, what vanishes, whole tokens and their beginnings, white space, short words.
COSTLY = (
    "\u0301\u0316", "\u0315\u0300", "\ufdfa", "か\u3099", "ｶﾞ", "\u1112\u1161\u11ab", "\u200b", "👨\u200d👩",
    MASK, MASK + "の", "[", "\n", "a ", "あ", "漢", "\U00020bb7",
)  # fmt: skip
LARGEST_BODY = 1 << 20


class Request(NamedTuple):
    """A request, named by its kind or, if it is valid, by its route."""

    name: str
    data: bytes
    statuses: set[int]


def request(
    name: str, path: str, statuses: set[int], body: Any = None, method: str = "POST", kind: str = "application/json"
) -> Request:
    """A request with a body of bytes, or of a value as JSON, or without one."""
    data = b"" if body is None else body if isinstance(body, bytes) else orjson.dumps(body)
    fields = "" if body is None else f"content-type: {kind}\r\ncontent-length: {len(data)}\r\n"
    return Request(name, f"{method} {path} HTTP/1.1\r\nhost: localhost\r\n{fields}\r\n".encode() + data, statuses)


class Draw:
    """Random requests."""

    def __init__(self, seed: int, models: list[str]) -> None:
        self.random, self.models = random.Random(seed), models
        # Texts are pieces of these: to draw their characters one by one would be most of this process's work.
        self.long = ["".join(self.character() for _ in range(120_000)) for _ in range(4)]

    def character(self) -> str:
        """Half of the characters are Japanese, half of any plane."""
        if self.random.random() < 0.5:
            return self.random.choice(JAPANESE)
        return chr(self.random.choice(self.random.choice(ALL_PLANES)))

    def weighted(self, weights: dict[str, int]) -> str:
        [name] = self.random.choices(list(weights), list(weights.values()))
        return name

    def text(self, most: int = 120) -> str:
        """Up to `most` characters; one in ten is empty."""
        length = 0 if self.random.random() < 0.1 else self.random.randrange(1, most)
        start = self.random.randrange(100_000)
        return self.random.choice(self.long)[start : start + length]

    def text_with_masks(self) -> str:
        return self.text(60) + self.random.choice([MASK, MASK, MASK + "の" + MASK]) + self.text(60)

    def named(self) -> dict[str, Any]:
        """The name of a model, in every second body."""
        return {"model": self.random.choice(self.models)} if self.random.random() < 0.5 else {}

    def body(self, path: str, texts: int = 0) -> dict[str, Any]:
        """A valid body for a route, of one text or of `texts`."""

        def one() -> Any:
            if path == "/v1/decode":
                return [self.random.randrange(500) for _ in self.text()]
            return self.text_with_masks() if path == "/v1/fill-mask" else self.text()

        body = self.named()
        if path == "/v1/encode" and self.random.random() < 0.5:
            body |= {"special_tokens": self.random.random() < 0.5, "max_length": self.random.choice([None, 3, 64, 512])}
        if path == "/v1/fill-mask" and self.random.random() < 0.5:
            body["top_k"] = self.random.randrange(1, 101)
        single, several = ("ids", "batch") if path == "/v1/decode" else ("text", "texts")
        return {**body, several: [one() for _ in range(texts)]} if texts else {**body, single: one()}

    def hostile(self) -> Request:
        """A request whose body, of up to 1 MiB, is made to cost as much time or memory as it can."""
        path = self.random.choice(list(POST))
        piece = "".join(self.random.choices(COSTLY, k=self.random.randrange(1, 4)))
        width = len(orjson.dumps(piece)) - 2
        size, number = self.random.choice([20_000, 300_000, LARGEST_BODY - 200]), self.random.choice([1, 4, 64, 256])
        single, several = ("ids", "batch") if path == "/v1/decode" else ("text", "texts")

        def value(length: int) -> Any:
            """A text, or ids, of so many bytes in JSON; a text to fill is mostly as long as the model takes."""
            if path == "/v1/decode":
                return [self.random.randrange(10)] * (length // 2)
            if path == "/v1/fill-mask" and self.random.random() < 0.7:
                return (MASK * self.random.choice([1, 500]) + piece * 500)[:500]
            return piece * (length // width)

        body: Any = {"model": self.random.choice(self.models)}
        if path == "/v1/fill-mask":
            body["top_k"] = self.random.choice([1, 5, 100])
        shape = self.random.choice(["a text", "a text", "texts", "texts", "values", "fields", "depth", "a name"])
        if shape == "a text":
            body[single] = value(size)
        elif shape == "texts":
            body[several] = [value(size // number - 4)] * number
        elif shape == "values":
            body[self.random.choice([single, several])] = [self.random.choice([[], {}, "a", 1, None])] * (size // 5)
        elif shape == "fields":
            body |= {f"{place:x}": 0 for place in range(size // 9)}
        elif shape == "depth":
            depth = self.random.choice([900, size // 2 - 10])
            body = b'{"text":' + b"[" * depth + b"]" * depth + b"}"
        else:
            body[piece * (size // width)] = 0
        return request(f"hostile: {shape}", path, {200, 404, 413, 422, 503}, body)

    def request(self, kind: str = "") -> Request:
        """A request of a kind, or of any."""
        kind, path = kind or self.weighted(KINDS), self.weighted(POST)
        body: Any = self.body(path)
        match kind:
            case "usual":
                return request(path, path, {200}, body)
            case "a batch":
                most = 8 if path == "/v1/fill-mask" else self.random.choice([8, 256])
                return request(f"{path}, a batch", path, {200}, self.body(path, self.random.randrange(1, most + 1)))
            case "long":
                # Up to the limit of 100,000 characters and just above it.
                path = self.random.choice(["/v1/tokenize", "/v1/encode"])
                length = self.random.choice([1_000, 20_000, 99_999, 100_000, 100_001])
                body = {**self.named(), "text": self.random.choice(self.long)[:length]}
                return request(f"{path}, long", path, {200 if length <= 100_000 else 422}, body)
            case "get":
                path = self.random.choice(GET)
                return request(path, path, {200}, method="GET")
            case "wrong types":
                value: Any = self.random.choice([None, 7, True, 0.5, {}, [], [[]], {"text": 1}])
                field = self.random.choice(["text", "texts", "ids", "batch", "more"])
                body = self.random.choice([value, {field: value}, {**body, "more": value}])
                # Nothing is decoded to nothing.
                valid = path == "/v1/decode" and body in ({"ids": []}, {"batch": [[]]})
                return request(kind, path, {200} if valid else {422}, orjson.dumps(body))
            case "broken JSON":
                whole = orjson.dumps(body)
                cut = whole[: self.random.randrange(len(whole))]
                broken = [cut, whole + b"}", b"{" * 100_000, b"NaN", b'{"text": "\\ud800"}']
                return request(kind, path, {422}, self.random.choice(broken))
            case "wrong UTF-8":
                noise = self.random.randbytes(self.random.randrange(1, 60)).replace(b'"', b"").replace(b"\\", b"")
                return request(kind, path, {422}, b'{"text": "' + noise + b'\xff"}')
            case "too large":
                return request(kind, path, {413}, b'{"text": "' + b"a" * (1 << 20) + b'"}')
            case "unknown model":
                return request(kind, path, {404}, {**body, "model": self.text(30)})
            case "unknown path":
                return request(kind, self.random.choice(UNKNOWN), {404, 405, 307}, {"text": "文"})
            case "wrong method":
                return request(kind, path, {405}, method=self.random.choice(["PUT", "DELETE", "GET", "OPTIONS"]))
        return request("not called JSON", path, {415}, body, kind="text/plain")
