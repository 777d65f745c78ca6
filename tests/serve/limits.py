"""Slow and idle clients, full queues, clients that leave, and signals.
usage: limits.py EXECUTABLE SAMPLES"""
import json
import signal
import socket
import threading
import time

from server import PICTURES, Server, chat, check, expect_error, finish

CHAT = "/v1/chat/completions"
# a request that takes a while, since it may not end early
LONG = chat("What is this?", PICTURES[0], min_new_tokens=1900, max_tokens=1900, n=8, temperature=1.0)


def request(body: dict) -> bytes:
    text = json.dumps(body).encode()
    return f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(text)}\r\n\r\n".encode() + text


def idle_and_slow() -> None:
    with Server("--max-connections", "250") as server:
        idle = [server.socket() for _ in range(200)]
        slow = [server.socket() for _ in range(40)]
        for number, client in enumerate(slow):
            client.sendall(b"POST " if number % 2 else request(LONG)[:150])
        begin = time.monotonic()
        for _ in range(3):
            check(server.post(CHAT, chat("What is this?", PICTURES[0]))[0] == 200, "an answer among idle clients")
        check(time.monotonic() - begin < 60, "idle clients delay others")
        more = [server.socket() for _ in range(60)]  # more than --max-connections: the oldest are closed
        check(server.post(CHAT, chat("What is this?", PICTURES[0]))[0] == 200, "an answer with too many connections")
        check(server.gauge("idefics_connections") <= 250, "too many connections are open")
        end = time.monotonic() + 45
        for client in slow:  # all of them are closed by the server
            client.settimeout(max(end - time.monotonic(), 0.1))
            try:
                while client.recv(4096):
                    pass
            except ConnectionError:
                pass
            except TimeoutError:
                check(False, "a slow client is still connected")
                break
        for client in idle + slow + more:
            client.close()


def full_queue() -> None:
    with Server("--max-running", "1", "--max-waiting", "1") as server:
        clients = []
        for _ in range(2):
            clients.append(server.socket())
            clients[-1].sendall(request(LONG))
            count = len(clients)
            check(server.wait_until(lambda: server.gauge("idefics_running") + server.gauge("idefics_waiting") == count), "not admitted")
        status, headers, body = server.ask("POST", CHAT, LONG)
        expect_error((status, body), 429, "queue_full", what="a full queue")
        check(headers.get("Retry-After") == "1", "no Retry-After")
        for client in clients:  # they leave, and their work ends
            client.close()
        check(server.wait_until(lambda: server.gauge("idefics_running") + server.gauge("idefics_waiting") == 0, 30), "cancelled work continues")
        check(server.post(CHAT, chat("What is this?", PICTURES[0]))[0] == 200, "an answer after cancelled ones")


def stream_is_left() -> None:
    with Server("--max-running", "1") as server:
        client = server.socket()
        client.sendall(request({**LONG, "stream": True}))
        check(client.recv(10).startswith(b"HTTP/1.1 2"), "no stream")
        client.close()
        check(server.wait_until(lambda: server.gauge("idefics_running") == 0, 30), "an unread stream continues")


def graceful(number: int) -> None:
    with Server("--max-running", "1") as server:
        answers = []
        body = {**LONG, "min_new_tokens": 300, "max_tokens": 300}
        threads = [threading.Thread(target=lambda: answers.append(server.post(CHAT, body)[0])) for _ in range(2)]
        for thread in threads:
            thread.start()
        check(server.wait_until(lambda: server.gauge("idefics_running") + server.gauge("idefics_waiting") == 2), "not admitted")
        server.process.send_signal(number)
        if server.wait_until(lambda: server.ask("GET", "/health")[0] == 503, 5):
            expect_error(server.post(CHAT, chat("a")), 503, "shutting_down", what="a new request")
        else:
            check(False, "the server does not say that it is shutting down")
        check(server.process.wait(120) == 0, "the exit code is not 0")
        for thread in threads:
            thread.join(10)
        check(answers == [200, 200], f"running requests did not finish: {answers}")


def twice() -> None:
    with Server("--max-running", "1") as server:
        client = server.socket()
        client.sendall(request(LONG))
        check(server.wait_until(lambda: server.gauge("idefics_running") == 1), "not running")
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        check(server.process.poll() is None, "the first signal ends the server")
        server.process.send_signal(signal.SIGTERM)
        check(server.process.wait(5) == 128 + signal.SIGTERM, "the exit code after two signals")
        client.close()


def idle_stop() -> None:
    with Server() as server:
        client = server.socket()
        begin = time.monotonic()
        check(server.stop(signal.SIGINT, 10) == 0 and time.monotonic() - begin < 5, "an idle server stops slowly")
        client.close()


full_queue()
stream_is_left()
graceful(signal.SIGTERM)
graceful(signal.SIGINT)
twice()
idle_stop()
idle_and_slow()
finish("limits and signals hold")
