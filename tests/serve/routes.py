"""Every route: what it answers, and the error for every kind of fault.
usage: routes.py EXECUTABLE SAMPLES"""
import gzip
import json
import math
import re
import struct
import base64

from server import PICTURES, Server, chat, check, command, data_url, expect_error, finish, user

boat = next(p for p in PICTURES if p.name == "pink-boat.png")
question = "What is this?"
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"


def chats(server: Server) -> None:
    status, body = server.post(CHAT, chat(question, boat, model="tiny", user="someone", metadata={"a": "b"}, temperature=0))
    check(status == 200, f"chat: {status} {body}")
    choice = body["choices"][0]
    check(choice["message"]["content"] == "a pink boat" and choice["finish_reason"] == "stop", f"chat: {choice}")
    check(body["object"] == "chat.completion" and body["model"] == "tiny" and body["id"].startswith("chatcmpl-"), f"chat: {body}")
    usage = body["usage"]
    check(usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] and usage["prompt_tokens"] > 5, f"{usage}")

    events = server.stream(CHAT, chat(question, boat, stream_options={"include_usage": True}, logprobs=True, top_logprobs=2))
    text = "".join(c["delta"].get("content", "") for e in events for c in e["choices"])
    check(text == "a pink boat" and events[0]["choices"][0]["delta"]["role"] == "assistant", f"stream: {text}")
    check(events[-1]["usage"] == usage and events[-1]["choices"] == [], f"usage of a stream: {events[-1]}")
    last = events[-2]["choices"][0]
    check(last["finish_reason"] == "stop" and all(len(t["top_logprobs"]) == 2 for t in last["logprobs"]["content"]), f"{last}")
    check("".join(t["token"] for t in last["logprobs"]["content"]).strip() == text, "tokens of logprobs are not the text")

    continued = server.post(CHAT, {"messages": [user(question, boat), {"role": "assistant", "content": "a pink"}]})[1]
    check("boat" in continued["choices"][0]["message"]["content"], f"a continued answer: {continued}")
    plain = server.post(CHAT, {"messages": [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": question}]})
    check(plain[0] == 200, f"chat without a picture: {plain}")


def ends(server: Server) -> None:
    cut = server.post(CHAT, chat(question, boat, stop=[" boat"]))[1]["choices"][0]
    check(cut["message"]["content"] == "a pink" and cut["finish_reason"] == "stop", f"stop: {cut}")
    events = server.stream(CHAT, chat(question, boat, stop=" boat"))
    check("".join(c["delta"].get("content", "") for e in events for c in e["choices"]) == "a pink", "stop in a stream")
    kept = server.post(CHAT, chat(question, boat, stop_strings=[" pink"]))[1]["choices"][0]
    check(kept["message"]["content"] == "a pink", f"stop_strings: {kept}")
    short = server.post(CHAT, chat(question, boat, max_tokens=1))[1]["choices"][0]
    check(short["finish_reason"] == "length", f"max_tokens: {short}")
    late = server.post(CHAT, chat(question, boat, max_time=0.0))
    check(late[0] in (200, 504), f"max_time: {late}")


def several(server: Server) -> None:
    body = server.post(CHAT, chat(question, boat, n=3, temperature=1.0, seed=7))[1]
    texts = [c["message"]["content"] for c in body["choices"]]
    check([c["index"] for c in body["choices"]] == [0, 1, 2], f"n: {body}")
    events = server.stream(CHAT, chat(question, boat, n=3, temperature=1.0, seed=7))
    streamed = ["", "", ""]
    for event in events:
        for choice in event["choices"]:
            streamed[choice["index"]] += choice["delta"].get("content", "")
    check(streamed == texts, f"three streamed answers: {streamed}, {texts}")
    beams = server.post(CHAT, chat(question, boat, n=2, num_beams=3))[1]
    check(len(beams["choices"]) == 2, f"beams: {beams}")
    events = server.stream(CHAT, chat(question, boat, num_beams=3))
    text = "".join(c["delta"].get("content", "") for e in events for c in e["choices"])
    check(text == beams["choices"][0]["message"]["content"], f"streamed beams: {text}")


def completions(server: Server) -> None:
    parts = ["User:", {"image": data_url(boat)}, question + "<end_of_utterance>\nAssistant:"]
    body = server.post(COMPLETIONS, {"prompt": parts, "logprobs": 1})[1]
    check(body["object"] == "text_completion" and "pink boat" in body["choices"][0]["text"], f"completion: {body}")
    logprobs = body["choices"][0]["logprobs"]
    check(len({len(logprobs[key]) for key in ("tokens", "token_logprobs", "top_logprobs", "text_offset")}) == 1, f"{logprobs}")
    both = server.post(COMPLETIONS, {"prompt": ["a red", "a blue"], "max_tokens": 2, "echo": True})[1]
    wanted = [command("generate", text, "--max-new-tokens", "2").rstrip("\n") for text in ("a red", "a blue")]
    check([c["text"] for c in both["choices"]] == wanted, f"echo: {both}, {wanted}")
    events = server.stream(COMPLETIONS, {"prompt": "a red", "max_tokens": 2, "echo": True})
    check("".join(c["text"] for e in events for c in e["choices"]) == wanted[0], f"streamed echo: {events}")
    best = server.post(COMPLETIONS, {"prompt": "a red", "best_of": 3, "seed": 1, "max_tokens": 2})
    check(best[0] == 200, f"best_of: {best}")
    biased = server.post(COMPLETIONS, {"prompt": "a red", "max_tokens": 1, "logit_bias": {"5": 100}})
    check(biased[0] == 200, f"logit_bias: {biased}")


def vision(server: Server) -> None:
    labels = ["boat", "cat", "star"]
    for options, flags in (({}, []), ({"rank": True, "normalize": True}, ["--rank", "--normalize"])):
        status, body = server.post("/v1/classify", {"image": data_url(boat), "labels": labels, **options})
        wanted = json.loads(command("classify", str(boat), "--labels", ",".join(labels), "--json", *flags))
        found = {key: body["data"][0][key] for key in ("label", "scores")} if status == 200 else body
        check(found == wanted, f"classify: {found}, {wanted}")
    status, body = server.post("/v1/embeddings", {"input": [data_url(p) for p in PICTURES[:2]]})
    vectors = [entry["embedding"] for entry in body["data"]]
    check(status == 200 and len(vectors) == 2 and vectors[0] != vectors[1], f"embeddings: {status}")
    coded = server.post("/v1/embeddings", {"input": data_url(PICTURES[0]), "encoding_format": "base64"})[1]["data"][0]["embedding"]
    raw = base64.b64decode(coded)
    check(list(struct.unpack(f"<{len(raw) // 4}f", raw)) == [struct.unpack("f", struct.pack("f", x))[0] for x in vectors[0]], "base64")
    latents = server.post("/v1/embeddings", {"input": data_url(PICTURES[0]), "pooling": "none"})[1]["data"][0]["embedding"]
    mean = [sum(column) / len(latents) for column in zip(*latents)]
    check(all(math.isclose(a, b, abs_tol=1e-4) for a, b in zip(mean, vectors[0], strict=True)), "the mean of latents")


def formats(server: Server) -> None:
    schema = {"type": "object", "required": ["count", "things"], "properties": {
        "count": {"type": "integer"}, "things": {"type": "array", "items": {"enum": ["boat", "fish"]}, "maxItems": 3}}}
    asked = {"type": "json_schema", "json_schema": {"name": "scene", "schema": schema, "strict": True}}
    status, answer = server.post("/v1/chat/completions", chat(question, boat, response_format=asked, temperature=1.5, n=8))
    for choice in answer["choices"] if status == 200 else [{"message": {"content": "null"}}]:
        found = json.loads(choice["message"]["content"])
        check(isinstance(found["count"], int) and set(found["things"]) <= {"boat", "fish"}, f"schema: {answer}")
    body = {"prompt": "User: a number", "guided_regex": "[0-9]{3}-(yes|no)", "max_tokens": 30}
    text = server.post("/v1/completions", body)[1]["choices"][0]["text"]
    check(re.fullmatch(" ?[0-9]{3}-(yes|no)", text), f"guided_regex: '{text}'")


def attention(server: Server) -> None:
    boat = next(p for p in PICTURES if p.name == "pink-boat.png")
    wanted = json.loads(command("attend", str(boat), "--prompt", "a pink", "--json"))
    status, body = server.post("/v1/attend", {"prompt": [{"image": data_url(boat)}, "a pink"]})
    check(status == 200 and body["words"] == wanted["words"] and body["grid"] == wanted["grid"], f"attend: {str(body)[:300]}")
    check(any(word["text"] == "boat" for word in body["words"]), f"no boat was seen: {body['text']}")
    text = command("chat", str(boat), stdin=question + "\n").rstrip("\n")
    status, body = server.post("/v1/attend", {**chat(question, boat), "stream": True})
    check(status == 200 and body["text"] == text and [w["text"] for w in body["words"]] == text.split(), f"attend to chat: {str(body)[:300]}")
    expect_error(server.post("/v1/attend", chat(question, boat, n=2)), 400, "invalid_option", "n", "several answers")
    expect_error(server.post("/v1/attend", {"prompt": ["a", "b"]}), 400, "invalid_option", what="two prompts")
    expect_error(server.post("/v1/attend", {"messages": 1}), 400, "invalid_option", "messages", "no messages")
    expect_error(server.post("/v1/attend", {}), 400, "invalid_option", "prompt", "no prompt")


def others(server: Server) -> None:
    check(server.ask("GET", "/health")[2] == {"status": "ok"}, "health")
    models = server.ask("GET", "/v1/models")[2]
    check([m["id"] for m in models["data"]] == ["tiny"], f"models: {models}")
    check(server.ask("GET", "/v1/models/tiny")[2]["object"] == "model", "one model")
    status, headers, page = server.ask("GET", "/")
    check(status == 200 and page.startswith("<!DOCTYPE html>"), "the page")
    check(server.ask("HEAD", "/health")[2] == "", "HEAD has a body")
    text = server.ask("GET", "/metrics")[2]
    for line in ('idefics_requests_total{route="/v1/chat/completions",status="200"}', "idefics_generated_tokens_total ",
                 'idefics_request_seconds_bucket{route="/health",le="+Inf"} ', "idefics_cached_pictures ", "idefics_running 0"):
        check(line in text, f"metrics lack {line}")


def faults(server: Server) -> None:
    ok = chat(question)["messages"]
    for body, code, param in (
            ("not json", "invalid_json", None), ("[]", "invalid_json", None), ('{"messages": 1, "messages": 2}', "duplicate_key", "messages"),
            ("[" * 300, "invalid_json", None), ({}, "invalid_option", "messages"), ({"messages": []}, "invalid_option", "messages"),
            ({"messages": [{"role": "robot", "content": "a"}]}, "invalid_option", "messages[0].role"),
            ({"messages": [{"role": "user"}]}, "invalid_option", "messages[0].content"),
            ({"messages": [{"role": "user", "content": [{"type": "audio"}]}]}, "invalid_option", "messages[0].content[0].type"),
            ({"messages": [user(question, boat), {"role": "user", "content": "a", "x": 1}]}, "invalid_option", "messages[1].x"),
            ({"messages": ok, "temprature": 1}, "invalid_option", "temprature"), ({"messages": ok, "top_p": 2}, "invalid_option", "top_p"),
            ({"messages": ok, "max_tokens": 0}, "invalid_option", "max_tokens"), ({"messages": ok, "max_tokens": 1 << 20}, "invalid_option", "max_tokens"),
            ({"messages": ok, "max_tokens": 3, "max_new_tokens": 4}, "invalid_option", "max_tokens"),
            ({"messages": ok, "n": 1000, "temperature": 1}, "invalid_option", "n"), ({"messages": ok, "stop": [""]}, "invalid_option", "stop"),
            ({"messages": ok, "tools": [{}]}, "invalid_option", "tools"), ({"messages": ok, "response_format": {"type": "xml"}}, "invalid_option", "response_format.type"),
            ({"messages": ok, "top_logprobs": 50}, "invalid_option", "top_logprobs"), ({"messages": ok, "logit_bias": {"x": 1}}, "invalid_option", "logit_bias.x"),
            ({"messages": ok, "stream_options": {}}, "invalid_option", "stream_options"), ({"messages": ok, "output_logits": True}, "invalid_option", "output_logits"),
            ({"messages": [{"role": "user", "content": "word " * 5000}]}, "context_length_exceeded", None),
            ({"messages": [{"role": "user", "content": "word " * 500000}]}, "context_length_exceeded", None)):
        expect_error(server.post(CHAT, body), 400, code, param, str(body)[:80])
    for url, code in (("/etc/passwd", "invalid_option"), ("file:///etc/passwd", "invalid_option"), ("ftp://example.com/a.png", "url_refused"), ("http://127.0.0.1:1/a.png", "url_refused"),
                      ("http://[::1]/a.png", "url_refused"), ("http://169.254.169.254/latest", "url_refused"), ("data:image/png;base64,!", "fetch_failed"),
                      ("data:image/png;base64,AAAA", "invalid_image")):
        part = {"type": "image_url", "image_url": {"url": url}}
        expect_error(server.post(CHAT, {"messages": [{"role": "user", "content": [part]}]}), 400, code, "messages[0].content[0].image_url.url", url)
    expect_error(server.post(CHAT, {"messages": ok, "model": "gpt-4"}), 404, "model_not_found", "model", "another model")
    expect_error(server.post(CHAT, {"messages": ok, "temperature": 1e308}), 422, "non_finite_logits", what="scores that overflow")
    expect_error(server.post(COMPLETIONS, {"prompt": [1, 2]}), 400, "invalid_option", "prompt[0]", "token ids")
    expect_error(server.post("/v1/classify", {"image": data_url(boat), "labels": []}), 400, "invalid_option", "labels", "no labels")
    expect_error(server.post("/v1/classify", {"image": data_url(boat), "labels": ["a"] * 200}), 400, "invalid_option", "labels", "many labels")
    expect_error(server.post("/v1/embeddings", {"input": "a text"}), 400, "invalid_option", "input", "embedding of a text")
    expect_error(server.ask("GET", "/nothing")[::2], 404, "not_found", what="another path")
    expect_error(server.ask("GET", CHAT)[::2], 405, "method_not_allowed", what="another method")
    expect_error(server.ask("DELETE", "/health")[::2], 405, "method_not_allowed", what="another method")
    expect_error(server.ask("POST", "/health", "{}")[::2], 405, "method_not_allowed", what="another method")
    expect_error(server.post(CHAT, gzip.compress(b"x"), {"Content-Encoding": "nonsense"}), 400, "invalid_json", what="an unknown encoding")


def sizes() -> None:
    with Server("--max-body", "100KiB") as server:
        expect_error(server.post(CHAT, chat("x" * 200000)), 413, "body_too_large", what="a large body")
        bomb = gzip.compress(json.dumps(chat(" " * 5_000_000)).encode())
        expect_error(server.post(CHAT, bomb, {"Content-Encoding": "gzip"}), 413, "body_too_large", what="a body that grows")
        small = gzip.compress(json.dumps(chat(question)).encode())
        check(server.post(CHAT, small, {"Content-Encoding": "gzip"})[0] == 200, "a compressed body")
        expect_error(server.post(CHAT, "{}", {"Transfer-Encoding": "chunked"}), 411, "length_required", what="no length")


def memory() -> None:
    with Server("--max-tokens", "10") as server:
        check(server.post(CHAT, chat(question, boat))[1]["choices"][0]["finish_reason"] in ("stop", "length"), "less than the usual tokens")
    with Server("--max-tokens", "16000000") as server:
        for stream in (False, True):
            status, headers, body = server.ask("POST", CHAT, chat(question, boat, max_tokens=16000000, n=64, temperature=1, stream=stream))
            expect_error((status, body), 503, "out_of_memory", what="an answer that does not fit in memory")
            check(headers["Retry-After"] == "1", "no Retry-After")
        check(server.post(CHAT, chat(question, boat))[0] == 200, "an answer afterwards")


def keys() -> None:
    with Server(env={"IDEFICS_API_KEY": "se cret"}) as server:
        expect_error(server.post(CHAT, chat(question)), 401, "missing_api_key", what="no key")
        for wrong in ("Bearer no", "Bearer se cret1", "Bearer ", "se cret"):
            expect_error(server.post(CHAT, chat(question), {"Authorization": wrong}), 401, "invalid_api_key", what=wrong)
        expect_error(server.ask("GET", "/metrics")[::2], 401, "missing_api_key", what="metrics without a key")
        check(server.ask("GET", "/health")[0] == 200 and server.ask("GET", "/")[0] == 200, "health and the page need no key")
        check(server.post(CHAT, chat(question, boat), {"Authorization": "Bearer se cret"})[0] == 200, "the right key")
        server.stop()
        server.reader.join(10)
        log = "".join(server.log)
        check("POST /v1/chat/completions 200" in log and "POST /v1/chat/completions 401" in log, f"the log: {log}")
        check("cret" not in log and question not in log, "secrets in the log")


def browsers() -> None:
    with Server() as server:
        expect_error(server.ask("GET", "/health", headers={"Host": "evil.example"})[::2], 403, "host_refused", what="a foreign host")
        check(server.ask("GET", "/health", headers={"Host": "localhost:1"})[0] == 200, "localhost")
        expect_error(server.post(CHAT, chat(question), {"Origin": "https://evil.example"}), 403, "origin_refused", what="a foreign origin")
        check(server.post(CHAT, chat(question), {"Origin": f"http://127.0.0.1:{server.port}"})[0] == 200, "the own origin")
        status, headers, _ = server.ask("GET", "/health")
        check(headers.get("Access-Control-Allow-Origin") is None, "CORS is on by default")
        check(server.ask("OPTIONS", CHAT)[0] == 405, "OPTIONS")
    with Server("--cors", "https://good.example") as server:
        status, headers, _ = server.ask("OPTIONS", CHAT, headers={"Origin": "https://good.example"})
        check(status == 204 and headers["Access-Control-Allow-Origin"] == "https://good.example", f"preflight: {status}")
        check(server.post(CHAT, chat(question), {"Origin": "https://good.example"})[0] == 200, "the allowed origin")
        expect_error(server.post(CHAT, chat(question), {"Origin": "https://evil.example"}), 403, "origin_refused", what="another origin")


with Server() as shared:
    for part in (chats, ends, several, completions, formats, vision, attention, others, faults):
        part(shared)
sizes()
memory()
keys()
browsers()
finish("every route answers as it promises")
