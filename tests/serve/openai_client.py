"""The openai package drives chat, streaming, pictures and errors. Exits with 77 if it is not installed.
usage: openai_client.py EXECUTABLE SAMPLES"""
import sys

try:
    import openai
except ImportError:
    print("skipped: this Python has no package openai")
    sys.exit(77)

from server import PICTURES, Server, check, data_url, finish

boat = next(p for p in PICTURES if p.name == "pink-boat.png")
messages = [{"role": "user", "content": [{"type": "text", "text": "What is this?"},
                                         {"type": "image_url", "image_url": {"url": data_url(boat)}}]}]
with Server("--api-key", "key") as server:
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{server.port}/v1", api_key="key", max_retries=0)
    check([m.id for m in client.models.list()] == ["tiny"], "models")
    answer = client.chat.completions.create(model="tiny", messages=messages, logprobs=True, top_logprobs=3, seed=1, user="me")
    check(answer.choices[0].message.content == "a pink boat" and answer.usage.total_tokens > 5, f"{answer}")
    check(len(answer.choices[0].logprobs.content[0].top_logprobs) == 3, "logprobs")
    text, usage = "", None
    for event in client.chat.completions.create(model="tiny", messages=messages, stream=True, stream_options={"include_usage": True}):
        text += "".join(choice.delta.content or "" for choice in event.choices)
        usage = event.usage or usage
    check(text == "a pink boat" and usage == answer.usage, f"stream: {text} {usage}")
    several = client.chat.completions.create(model="tiny", messages=messages, n=2, temperature=1, extra_body={"top_k": 5})
    check(len(several.choices) == 2, "two answers")
    done = client.completions.create(model="tiny", prompt="a red", max_tokens=2, logprobs=1, stop=["\n"])
    check(done.choices[0].text != "" and done.choices[0].logprobs.tokens, f"{done}")
    vectors = client.embeddings.create(model="tiny", input=data_url(boat))
    check(len(vectors.data[0].embedding) > 8, "an embedding")
    for error, call in ((openai.BadRequestError, lambda: client.chat.completions.create(model="tiny", messages=messages, top_p=7)),
                        (openai.NotFoundError, lambda: client.chat.completions.create(model="other", messages=messages)),
                        (openai.AuthenticationError, lambda: client.with_options(api_key="no").models.list())):
        try:
            call()
            check(False, f"no {error.__name__}")
        except error as found:
            check(bool(found.code) and bool(found.message), f"an error without a code: {found}")
finish("the openai package is served")
