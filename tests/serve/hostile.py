"""Broken, cut, oversized and hostile requests among good ones: no crash, every error typed, memory flat.
usage: hostile.py EXECUTABLE SAMPLES [REQUESTS]"""
import concurrent.futures
import json
import random
import socket
import sys

from server import PICTURES, Server, chat, check, complain, data_url, finish

REQUESTS = int(sys.argv[3]) if len(sys.argv) > 3 else 400
PATHS = ["/v1/chat/completions", "/v1/completions", "/v1/classify", "/v1/embeddings", "/v1/attend"]
GOOD = json.dumps(chat("What is this?", PICTURES[0], max_tokens=4)).encode()


def good(server: Server, order: random.Random) -> None:
    status, body = server.post(PATHS[0], GOOD)
    check(status in (200, 429, 503), f"a good request: {status} {body}")


def mutated(server: Server, order: random.Random) -> None:
    body = bytearray(GOOD)
    for _ in range(order.randint(1, 20)):
        at = order.randrange(len(body))
        body[at:at + order.randint(0, 3)] = order.randbytes(order.randint(0, 3))
    typed(server, order.choice(PATHS), bytes(body))


def values(server: Server, order: random.Random) -> None:
    value = order.choice([None, -1, 0, 1e308, 2**64, "", "x" * 5000, [], {}, [[[]]], {"a": {}}, True, "\u0000", "\ud800"])
    name = order.choice(["messages", "prompt", "n", "seed", "stop", "temperature", "num_beams", "logit_bias", "stream", "image", "input",
                         "labels", "max_tokens", "bad_words_ids", "model", "response_format", "top_logprobs", "watermarking_config"])
    typed(server, order.choice(PATHS), json.dumps({**chat("a", max_tokens=2), name: value}).encode())


def oversized(server: Server, order: random.Random) -> None:
    body = order.choice([b"[" * 100000, b'{"a":' * 50000, b"[" + b"{}," * 200000 + b"0]", json.dumps(chat("x" * (2 << 20))).encode(),
                         json.dumps(chat("a", max_tokens=1 << 40)).encode(), json.dumps(chat("a", n=1 << 30, temperature=1)).encode()])
    typed(server, order.choice(PATHS), body)


def pictures(server: Server, order: random.Random) -> None:
    raw = PICTURES[0].read_bytes()
    url = order.choice([data_url(PICTURES[0])[:order.randint(5, 200)], "http://127.0.0.1/", "http://localhost:1/x", "file:///etc/passwd",
                        "data:image/png;base64,iVBORw0KGgoAAAANSUhEUv//////////CAIAAAA=", "http://" + "a" * 3000, "gopher://x/"])
    part = {"type": "image_url", "image_url": {"url": url}}
    check(len(raw) > 0, "a picture")
    typed(server, PATHS[0], json.dumps({"messages": [{"role": "user", "content": [part] * order.randint(1, 40)}]}).encode())


def typed(server: Server, path: str, body: bytes) -> None:
    """Whatever is wrong, the answer is good, or an error in OpenAI's form that is not the server's fault."""
    status, answer = server.post(path, body)
    if status == 200:
        return
    error = answer.get("error") if isinstance(answer, dict) else None
    if not isinstance(error, dict) or not error.get("code") or status >= 500 and status != 503:
        complain(f"{path}: {status} {str(answer)[:200]} for {body[:200]!r}")


def cut(server: Server, order: random.Random) -> None:
    """Leaves in the middle of a request, or of its answer."""
    request = f"POST {PATHS[0]} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(GOOD)}\r\n\r\n".encode() + GOOD
    with server.socket() as client:
        client.sendall(request[:order.choice([3, 50, 90, len(request) // 2, len(request)])])
        if order.random() < 0.5:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # resets


def raw(server: Server, order: random.Random) -> None:
    """What is not HTTP."""
    data = order.choice([order.randbytes(500), b"\r\n" * 100, b"GET " + b"/" * 20000 + b" HTTP/1.1\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
                         b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 20000 + b"\r\n", b"POST /v1/completions HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
                         b"GET /%00%0a%ff HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET / HTTP/1.1\r\nRange: bytes=0-1,0-1,0-1\r\n\r\n",
                         b"POST /v1/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n"])
    with server.socket() as client:
        try:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            client.settimeout(30)
            while client.recv(65536):
                pass
        except OSError:
            pass


BAD = [mutated, values, oversized, pictures, cut, raw]


def worker(server: Server, number: int, count: int) -> None:
    order = random.Random(number)
    for _ in range(count):
        (order.choice(BAD) if order.random() < 0.25 else good)(server, order)


def load(server: Server, first: int, count: int) -> None:
    clients = 8
    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        for done in [pool.submit(worker, server, first + i, count // clients) for i in range(clients)]:
            done.result()


def every_kind(server: Server) -> None:
    order = random.Random(0)
    for kind in BAD:
        for _ in range(12):
            kind(server, order)


with Server("--max-body", "8MiB", "--max-running", "4", "--quiet") as server:
    every_kind(server)
    load(server, 0, max(REQUESTS // 4, 80))  # caches are full
    sizes = [server.resident_bytes()]
    for part in range(4):
        load(server, 1000 * (part + 1), REQUESTS // 4)
        sizes.append(server.resident_bytes())
    before, after = sizes[0], sizes[-1]
    check(server.process.poll() is None, "the server exited")
    check(after < before + (64 << 20), f"memory grew from {before >> 20} to {after >> 20} MiB")
    check(server.wait_until(lambda: server.gauge("idefics_running") + server.gauge("idefics_waiting") == 0), "work is left")
    check(server.stop() == 0, "the exit code after SIGTERM")
    print(f"resident memory in MiB, before and after each quarter of {REQUESTS} requests:", *[size >> 20 for size in sizes])
finish("nothing that clients sent has hurt the server")
