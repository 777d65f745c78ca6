"""Starts `idefics serve` for a test and talks to it, with nothing but the standard library."""
import base64
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

IDEFICS, SAMPLES = sys.argv[1], Path(sys.argv[2])
TINY = SAMPLES / "tiny"
PICTURES = sorted((SAMPLES / "pictures").glob("*.png"))
failures = 0


def complain(text: str) -> None:
    global failures
    failures += 1
    print("FAILED:", text, file=sys.stderr)


def check(holds: bool, text: str) -> None:
    if not holds:
        complain(text)


def finish(text: str) -> None:
    if failures:
        sys.exit(1)
    print(text)


def command(*words: str, stdin: str = "") -> str:
    """What the command line answers."""
    done = subprocess.run([IDEFICS, *words, "--model", str(TINY)], input=stdin, capture_output=True, text=True, check=True)
    return done.stdout


def data_url(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


class Server:
    def __init__(self, *options: str, env: dict | None = None) -> None:
        self.process = subprocess.Popen(
            [IDEFICS, "serve", "--port", "0", "--model", str(TINY), *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env={**os.environ, **(env or {})})
        self.log: list[str] = []
        line = self.process.stdout.readline()
        if not line.startswith("listening on http://"):
            raise SystemExit(f"the server did not start: {line}{self.process.stderr.read()}")
        self.port = int(line.rsplit(":", 1)[1])
        self.reader = threading.Thread(target=lambda: self.log.extend(self.process.stderr), daemon=True)
        self.reader.start()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def stop(self, number: int = signal.SIGTERM, seconds: float = 60) -> int:
        self.process.send_signal(number)
        return self.process.wait(seconds)

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)

    def socket(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=120)

    def ask(self, method: str, path: str, body=None, headers: dict | None = None):
        """The status, the headers and the body, as JSON if it is."""
        connection = self.connect()
        sent = body if body is None or isinstance(body, (bytes, str)) else json.dumps(body)
        connection.request(method, path, sent, {"Content-Type": "application/json", **(headers or {})})
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        is_json = answer.getheader("Content-Type", "").startswith("application/json")
        return answer.status, answer.headers, json.loads(content) if is_json and content else content.decode()

    def post(self, path: str, body, headers: dict | None = None):
        status, _, content = self.ask("POST", path, body, headers)
        return status, content

    def stream(self, path: str, body: dict) -> list:
        """The events of a stream."""
        connection = self.connect()
        connection.request("POST", path, json.dumps({**body, "stream": True}), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        check(answer.status == 200, f"a stream has status {answer.status}: {answer.read() if answer.status != 200 else ''}")
        check(answer.getheader("Content-Type") == "text/event-stream", "a stream of another type")
        lines = [line.decode().strip() for line in answer if line.strip()]
        connection.close()
        check(lines[-1] == "data: [DONE]", f"a stream ends with {lines[-1]}")
        return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]

    def resident_bytes(self) -> int:
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGESIZE")

    def wait_until(self, holds, seconds: float = 60) -> bool:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if holds():
                return True
            time.sleep(0.05)
        return False

    def gauge(self, name: str) -> float:
        text = self.ask("GET", "/metrics")[2]
        return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(name + " "))


def user(text: str, *pictures: Path) -> dict:
    parts = [{"type": "image_url", "image_url": {"url": data_url(picture)}} for picture in pictures]
    return {"role": "user", "content": [*parts, {"type": "text", "text": text}]}


def chat(text: str, *pictures: Path, **options) -> dict:
    return {"messages": [user(text, *pictures)], **options}


def expect_error(answer, status: int, code: str, param: str | None = None, what: str = "") -> None:
    """The answer must be an error in OpenAI's form."""
    found, body = answer
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict) or set(error) != {"message", "type", "param", "code"}:
        return complain(f"{what}: {found} without an error in OpenAI's form: {str(body)[:300]}")
    check((found, error["code"]) == (status, code), f"{what}: {found} {error['code']} instead of {status} {code}: {error['message']}")
    if param is not None:
        check(error["param"] == param, f"{what}: {code} names {error['param']} instead of {param}")
