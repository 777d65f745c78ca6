"""peers.py SERVER [--threads N] [--rounds N] [--ggml DIR] [--bench PROGRAM] [--json FILE] [--svg FILE]:
linear layers of this project, of torch and of llama.cpp's ggml at the same shapes, timed in turns.

SERVER is the program peers_server of the build. ggml is that of the package llama-cpp-python, or the
libraries in DIR; without either, torch is the only peer. PROGRAM is idefics_bench, whose families
then run as well. FILEs get all figures as JSON, and the roofline of the machine as SVG.
"""

import argparse
import json
import platform
import re
import statistics
import subprocess
import sys
import time

import torch

import ggml
import roofline

# M, N, K
PLAIN = [
    (1, 11008, 4096), (1, 4096, 11008), (8, 4096, 4096), (64, 11008, 4096), (64, 4096, 4096),
    (257, 5120, 1280), (257, 1280, 5120), (257, 1280, 1280), (512, 4096, 4096),
]  # fmt: skip
FOUR_BIT = [(1, 11008, 4096), (1, 4096, 11008), (8, 4096, 4096), (64, 11008, 4096), (257, 4096, 4096)]
BYTES = {"f32": 4, "bf16": 2, "nf4": 0.5 + 4 / 64}  # of a weight of ours


class Server:
    def __init__(self, path, threads):
        self.process = subprocess.Popen(
            [path, str(threads)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())


def copies(m, bytes_of_weight):
    """Matrices that are used in turn, so that with few rows none is in the cache."""
    return 1 if m > 8 else 1 + int((512 << 20) / bytes_of_weight)


def torch_product(x, weights):
    state = {"next": 0}

    def call():
        weight = weights[state["next"] % len(weights)]
        state["next"] += 1
        begin = time.perf_counter()
        torch.nn.functional.linear(x, weight)
        return time.perf_counter() - begin

    call.close = lambda: None
    return call


def peers_of(compute, m, n, k, library):
    """Functions by name that each return the seconds of one product."""
    dtype = torch.bfloat16 if compute == "bf16" else torch.float32
    x, weight = torch.randn(m, k), torch.randn(n, k).to(dtype)
    count = copies(m, n * k * BYTES[compute])
    peers = {}
    if compute != "nf4":
        weights = [weight] + [weight.clone() for _ in range(count - 1)]
        peers["torch"] = torch_product(x.to(dtype), weights)
    if library:
        kind = "Q4_0" if compute == "nf4" else compute
        peers["ggml"] = library.product(kind, x, weight, count)
    return peers


def measure(server, library, compute, m, n, k, rounds):
    peers = peers_of(compute, m, n, k, library)
    times = {name: [] for name in ("ours", "read", *peers)}
    for i in range(rounds + 1):
        # Between calls, the threads of a peer spin for some milliseconds.
        turns = {"ours": lambda: server(f"{compute} {m} {n} {k}"), "read": lambda: server("read"), **peers}
        for name, turn in turns.items():
            time.sleep(0.01)
            seconds = turn()
            if i > 0:  # the first round warms up
                times[name].append(seconds)
    for peer in peers.values():
        peer.close()
    return {
        "compute": compute, "m": m, "n": n, "k": k,
        "seconds": statistics.median(times["ours"]),
        "read_bytes_per_second": statistics.median(times["read"]),
        "flops": 2 * m * n * k,
        "bytes": n * k * BYTES[compute],
        "peers": {name: statistics.median(times[name]) for name in peers},
    }  # fmt: skip


def print_row(row, names):
    line = f'{row["compute"]:7} {row["m"]:6} {row["n"]:6} {row["k"]:6} {row["seconds"] * 1e3:9.3f}'
    for name in names:
        seconds = row["peers"].get(name)
        line += f' {seconds * 1e3:9.3f} {row["seconds"] / seconds:5.2f}' if seconds else " " * 16
    print(line.rstrip(), flush=True)


def bench_rows(program, threads):
    """The lines of idefics_bench that end with a share of a ceiling."""
    output = subprocess.run(
        [program, "--threads", str(threads)], check=True, capture_output=True, text=True
    ).stdout
    line = r"(.+?) +([\d.]+) ms +([\d.]+) (\S+) +([\d.]+) of (.+)"
    return [
        {"name": name, "seconds": float(ms) / 1e3, "rate": float(rate), "unit": unit,
         "share": float(share), "ceiling": ceiling}
        for name, ms, rate, unit, share, ceiling in re.findall(line, output)
    ]  # fmt: skip


def cpu_name():
    try:
        with open("/proc/cpuinfo") as file:
            fields = dict(re.findall(r"(model name|cpu family|model)\s*: (.+)", file.read()))
        return f'{fields["model name"]}, family {fields["cpu family"]}, model {fields["model"]}'
    except (OSError, KeyError):
        return platform.processor() or platform.machine()


def open_ggml(folder, threads):
    folder = folder or ggml.folder()
    if folder is None:
        print("ggml: llama-cpp-python is not installed, and --ggml is not given", file=sys.stderr)
        return None
    return ggml.Ggml(folder, threads)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("server")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--ggml")
    parser.add_argument("--bench")
    parser.add_argument("--json")
    parser.add_argument("--svg")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    library = open_ggml(args.ggml, args.threads)
    server = Server(args.server, args.threads)
    versions = {"torch": torch.__version__}
    if library:
        versions["ggml"] = library.version_name
    print(f"{cpu_name()}, {args.threads} threads; " + ", ".join(" ".join(v) for v in versions.items()))
    print("order        M      N      K   ours ms" + "".join(f" {name:>6} ms ratio" for name in versions))
    rows = []
    for compute, shapes in (("f32", PLAIN), ("bf16", PLAIN), ("nf4", FOUR_BIT)):
        for shape in shapes:
            rows.append(measure(server, library, compute, *shape, args.rounds))
            print_row(rows[-1], versions)
    kernels = bench_rows(args.bench, args.threads) if args.bench else []
    if args.json:
        result = {"cpu": cpu_name(), "threads": args.threads, "versions": versions,
                  "products": rows, "kernels": kernels}  # fmt: skip
        with open(args.json, "w") as file:
            json.dump(result, file, indent=1)
    if args.svg:
        with open(args.svg, "w") as file:
            file.write(roofline.draw(rows, kernels))


if __name__ == "__main__":
    main()
