"""peers.py SERVER [--threads N] [--rounds N] [--json FILE] [--svg FILE]: linear layers of this project
and of torch at the same shapes, timed in turns. SERVER is the program peers_server of the build.

Prints medians and ratios; writes them as JSON, and every product of this project on the roofline of
the machine: flops per byte of the weight against the read bandwidth and the fastest product seen.
"""

import argparse
import json
import math
import statistics
import subprocess
import time

import torch

SHAPES = [
    (m, n, k)
    for m in (1, 8, 64, 257)
    for n, k in ((4096, 4096), (11008, 4096), (4096, 11008), (1280, 5120))
]


class Server:
    def __init__(self, path, threads):
        self.process = subprocess.Popen(
            [path, str(threads)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())


def torch_product(dtype, m, n, k):
    bytes_of_weight = n * k * dtype.itemsize
    count = 1 if m > 8 else 1 + (512 << 20) // bytes_of_weight
    weights = [torch.randn(n, k).to(dtype) for _ in range(count)]
    x = torch.randn(m, k).to(dtype)
    state = {"next": 0}

    def call():
        weight = weights[state["next"] % count]
        state["next"] += 1
        begin = time.perf_counter()
        torch.nn.functional.linear(x, weight)
        return time.perf_counter() - begin

    return call


def measure(server, compute, m, n, k, rounds):
    peer = torch_product(torch.float32 if compute == "f32" else torch.bfloat16, m, n, k)
    ours, theirs, reads = [], [], []
    for i in range(rounds + 1):
        own, other = server(f"{compute} {m} {n} {k}"), peer()
        if i > 0:  # the first round warms up
            ours.append(own), theirs.append(other), reads.append(server("read"))
    return {
        "compute": compute, "m": m, "n": n, "k": k,
        "seconds": statistics.median(ours),
        "torch_seconds": statistics.median(theirs),
        "read_bytes_per_second": statistics.median(reads),
        "flops": 2 * m * n * k,
        "bytes": n * k * (4 if compute == "f32" else 2),
    }


def roofline(rows):
    """An SVG with logarithmic axes: flops per byte, GFLOP/s."""
    width, height, left, bottom = 640, 400, 60, 40
    peak = {c: max(r["flops"] / r["seconds"] for r in rows if r["compute"] == c) for c in ("f32", "bf16")}
    read = statistics.median(r["read_bytes_per_second"] for r in rows)
    x_end, y_begin, y_end = 3.2, 0.0, math.ceil(math.log10(max(peak.values()) / 1e9))

    def at(intensity, gflops):
        x = left + (math.log10(intensity) + 0.5) / (x_end + 0.5) * (width - left - 10)
        y = height - bottom - (math.log10(gflops) - y_begin) / (y_end - y_begin) * (height - bottom - 10)
        return f"{x:.1f},{y:.1f}"

    colour = {"f32": "#1f77b4", "bf16": "#d62728"}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{width / 2}" y="{height - 8}" text-anchor="middle">flops per byte of the weight</text>',
        f'<text transform="translate(14,{height / 2}) rotate(-90)" text-anchor="middle">GFLOP/s</text>',
    ]
    for power in range(0, 4):
        x, y = at(10**power, 1).split(",")
        parts.append(f'<text x="{x}" y="{float(y) + 14}" text-anchor="middle">{10**power}</text>')
    for power in range(0, y_end + 1):
        x, y = at(10**-0.5, 10**power).split(",")
        parts.append(f'<text x="{float(x) - 6}" y="{y}" text-anchor="end">{10**power}</text>')
    for compute, top in peak.items():
        ridge, begin = top / read, 10**-0.3
        points = " ".join([at(begin, begin * read / 1e9), at(ridge, top / 1e9), at(10**x_end, top / 1e9)])
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour[compute]}"/>')
    for r in rows:
        x, y = at(r["flops"] / r["bytes"], r["flops"] / r["seconds"] / 1e9).split(",")
        name = f'{r["compute"]}, {r["m"]} x {r["n"]} x {r["k"]}'
        parts.append(f'<circle cx="{x}" cy="{y}" r="3" fill="{colour[r["compute"]]}"><title>{name}</title></circle>')
    for i, compute in enumerate(colour):
        parts.append(f'<text x="{left + 20}" y="{24 + 14 * i}" fill="{colour[compute]}">{compute}</text>')
    return "\n".join(parts + ["</svg>"]) + "\n"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("server")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json")
    parser.add_argument("--svg")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    server = Server(args.server, args.threads)
    rows = []
    print("compute      m      n      k   ours ms  torch ms  ours/torch")
    for compute in ("f32", "bf16"):
        for m, n, k in SHAPES:
            row = measure(server, compute, m, n, k, args.rounds)
            rows.append(row)
            ratio = row["seconds"] / row["torch_seconds"]
            print(
                f'{compute:7} {m:6} {n:6} {k:6} {row["seconds"] * 1e3:9.3f} {row["torch_seconds"] * 1e3:9.3f} {ratio:10.2f}',
                flush=True,
            )
    if args.json:
        with open(args.json, "w") as file:
            json.dump({"torch": torch.__version__, "threads": args.threads, "rows": rows}, file, indent=1)
    if args.svg:
        with open(args.svg, "w") as file:
            file.write(roofline(rows))


if __name__ == "__main__":
    main()
