"""Answers equal those of the command line, whatever else the server does at the same time.
usage: answers.py EXECUTABLE SAMPLES"""
import concurrent.futures
import random
import threading

from server import PICTURES, Server, chat, check, command, data_url, finish

QUESTIONS = ["What is this?", "Describe the picture.", "What colour is it?"]


def single_runs() -> list[tuple[dict, str]]:
    """Requests, with what the command line answers to the same."""
    cases = []
    for index, picture in enumerate(PICTURES[:5]):
        question = QUESTIONS[index % len(QUESTIONS)]
        text = command("chat", str(picture), stdin=question + "\n")
        cases.append(("/v1/chat/completions", chat(question, picture), text.rstrip("\n")))
        flags = ["--do-sample", "--temperature", "1.5", "--seed", str(index), "--max-new-tokens", "12"]
        text = command("chat", str(picture), *flags, stdin=question + "\n")
        options = {"temperature": 1.5, "seed": index, "max_tokens": 12}
        cases.append(("/v1/chat/completions", chat(question, picture, **options), text.rstrip("\n")))
        text = command("generate", "User:", f"@{picture}", question, "--num-beams", "3", "--max-new-tokens", "8")
        prompt = ["User:", {"image": data_url(picture)}, question]
        cases.append(("/v1/completions", {"prompt": prompt, "num_beams": 3, "max_tokens": 8, "echo": True}, text.rstrip("\n")))
    return cases


def text_of(choice: dict) -> str:
    return choice["message"]["content"] if "message" in choice else choice["text"]


def client(server: Server, number: int, cases: list, rounds: int) -> None:
    order = random.Random(number)
    for _ in range(rounds):
        path, body, wanted = order.choice(cases)
        if order.random() < 0.15:  # leaves without reading
            with server.socket() as early:
                early.sendall(f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n".encode())
            continue
        if order.random() < 0.4:
            events = server.stream(path, body)
            found = "".join(c["delta"].get("content", "") if "delta" in c else c["text"] for e in events for c in e["choices"])
        else:
            status, answer = server.post(path, body)
            found = text_of(answer["choices"][0]) if status == 200 else f"{status} {answer}"
        check(found == wanted, f"client {number}: '{found}' instead of '{wanted}'")


def run(options: list[str]) -> None:
    with Server(*options) as server:
        for path, body, wanted in cases:  # alone
            found = server.post(path, body)[1]
            check("choices" in found and text_of(found["choices"][0]) == wanted, f"'{found}' instead of '{wanted}'")
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            for done in [pool.submit(client, server, number, cases, 8) for number in range(16)]:
                done.result()
        check(server.wait_until(lambda: server.gauge("idefics_running") == 0 and server.gauge("idefics_waiting") == 0), "work is left")
        if "0" not in options:
            check(server.gauge("idefics_pass_shares_total") > server.gauge("idefics_passes_total"), "no pass was shared")


cases = single_runs()
for options in (["--max-running", "6"], ["--max-running", "16", "--shared-cache-tokens", "300"], ["--shared-cache-tokens", "0"]):
    run(options)
finish("16 clients get the answers of the command line")
