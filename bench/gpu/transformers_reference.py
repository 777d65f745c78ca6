"""transformers_reference.py DIR [--device cpu]: the stages of gpu_stages in transformers, with the
same checkpoint.

Prints a Markdown table. Times are from CUDA events around what a caller waits for, after a warm-up
run; attention is what transformers chooses (SDPA), everything else its defaults. If torch,
transformers or a GPU is missing, it prints "skipped" and exits with 0: they serve as a comparison
and are not part of the project.
"""

import sys
import time


def stop(why):
    print(f"skipped: transformers was not measured: {why}")
    sys.exit(0)


try:
    import torch
    import transformers
    from transformers import IdeficsForVisionText2Text, LogitsProcessor, LogitsProcessorList
except ImportError as error:
    stop(error)

DEVICE = "cpu" if "--device" in sys.argv and sys.argv[-1] == "cpu" else "cuda"
if DEVICE == "cuda" and not torch.cuda.is_available():
    stop("torch sees no GPU")


def mark():
    """A point in the order of the device's work, or of the host's without a GPU."""
    if DEVICE == "cpu":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def milliseconds(begin, end):
    if DEVICE == "cpu":
        return (end - begin) * 1e3
    torch.cuda.synchronize()
    return begin.elapsed_time(end)


def median(values):
    return sorted(values)[len(values) // 2]


def prompt(config, rows, tokens):
    """Ids that follow the rule of bench/prompt.hpp, and a random picture."""
    ids = torch.tensor([5 + i * 7 % (config.vocab_size - 5) for i in range(tokens)]).repeat(rows, 1)
    side = config.vision_config.image_size
    picture = torch.rand(1, 1, 3, side, side).mul(2).sub(1).repeat(rows, 1, 1, 1, 1).to(torch.bfloat16)
    return {
        "input_ids": ids.to(DEVICE),
        "attention_mask": torch.ones_like(ids).to(DEVICE),
        "pixel_values": picture.to(DEVICE),
        "image_attention_mask": torch.ones(rows, tokens, 1, dtype=torch.int64).to(DEVICE),
    }


def encode(model, pixels):
    """Vision tower and resampler: the features or latents of `pixel_values` for the decoder."""
    inner = model.model
    hidden = inner.vision_model(pixel_values=pixels.flatten(0, 1)).last_hidden_state
    return inner.perceiver_resampler(hidden) if hasattr(inner, "perceiver_resampler") else hidden


class Marks(LogitsProcessor):
    """Called by transformers whenever the scores of a token have been computed."""

    def __init__(self):
        self.marks = [mark()]

    def __call__(self, input_ids, scores):
        self.marks.append(mark())
        return scores


def generate(model, inputs, tokens):
    """Milliseconds to the first token, and of each later step."""
    note = Marks()
    model.generate(
        **inputs,
        max_new_tokens=tokens,
        min_new_tokens=tokens,
        do_sample=False,
        pad_token_id=0,
        logits_processor=LogitsProcessorList([note]),
    )
    times = [milliseconds(*pair) for pair in zip(note.marks, note.marks[1:])]
    return times[0], times[1:]


def timed(call):
    begin = mark()
    call()
    return milliseconds(begin, mark())


def row(name, time_ms):
    print(f"| {name} | {time_ms:.2f} |", flush=True)


def measure(directory, tokens, rounds):
    begin = mark()
    dtype = {"torch_dtype" if transformers.__version__.startswith("4.") else "dtype": torch.bfloat16}
    model = IdeficsForVisionText2Text.from_pretrained(directory, **dtype).to(DEVICE).eval()
    load = milliseconds(begin, mark())
    print(f"\n| transformers {transformers.__version__}, torch {torch.__version__}, bf16 | ms |\n|---|---|")
    row("load, pages in cache", load)
    pixels = prompt(model.config, 1, 1)["pixel_values"]
    encode(model, pixels)
    row("image encode", median([timed(lambda: encode(model, pixels)) for _ in range(rounds)]))
    for rows, length in (1, 64), (1, 512), (8, 64):
        inputs = prompt(model.config, rows, length)
        generate(model, inputs, 2)
        runs = [generate(model, inputs, tokens) for _ in range(rounds)]
        if rows == 1:
            row(f"image encode and prefill {length}", median([first for first, _ in runs]))
        of_rows = f" of {rows} rows" if rows > 1 else ""
        row(f"decode step{of_rows} after {length} tokens", median([step for _, steps in runs for step in steps]))


with torch.inference_mode():
    try:
        measure(sys.argv[1], *((17, 3) if DEVICE == "cuda" else (3, 1)))
    except Exception as error:  # an incompatible transformers only costs the comparison
        stop(f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
