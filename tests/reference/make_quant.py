"""4-bit quantization by bitsandbytes on the CPU: small cases in full, ten million values as hashes.

Writes tests/golden/data/quant/{cases.safetensors, sweep.json}. The values of the sweep are a
function of their index (`generated`, and tests/golden/quantization.cpp), so only hashes are kept.
"""

import importlib.metadata
import os

os.environ["TORCHDYNAMO_DISABLE"] = "1"  # it would compile once for each odd size

import numpy
import torch
from bitsandbytes import functional as bnb
from safetensors.torch import save_file

from common import fnv1a, fnv1a_many, hex64, metadata, output_folder, versions, write_rows

SEED = 20261124
COUNT = 10_000_018
BITSANDBYTES = importlib.metadata.version("bitsandbytes")
TYPES, SIZES = ("nf4", "fp4"), (32, 64, 128, 256, 512, 1024, 2048, 4096)
PIECE = 65536


def mix64(z):
    z = (z ^ (z >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
    return z ^ (z >> numpy.uint64(31))


def stream(seed, index):
    """Vigna's splitmix64: number `index` of the stream of `seed`."""
    return mix64(numpy.uint64(seed) + (index + numpy.uint64(1)) * numpy.uint64(0x9E3779B97F4A7C15))


def generated(count, kind, wild):
    """Chunks of 1,024 values scaled by a power of two: uniform values below it, among them the
    scale itself, zeros, subnormal numbers and exact midpoints of neighbouring codes; some chunks of
    a wild sequence also have infinities or NaN."""
    i = numpy.arange(count, dtype=numpy.uint64)
    z, chunk = stream(SEED, i), i // numpy.uint64(1024)
    scale = numpy.exp2((stream(SEED + 1, chunk) % numpy.uint64(40)).astype(numpy.float32) - 30).astype(numpy.float32)
    sign = numpy.where(z & numpy.uint64(64), numpy.float32(-1), numpy.float32(1))
    x = ((z >> numpy.uint64(40)).astype(numpy.float32) * numpy.float32(2**-23) - numpy.float32(1)) * scale
    code = numpy.sort(bnb.get_4bit_type(kind, device="cpu").numpy())
    middle = ((code[:-1] + code[1:]) / numpy.float32(2))[(z >> numpy.uint64(8)) % numpy.uint64(15)] * scale
    denormal = ((z >> numpy.uint64(40)) & numpy.uint64(0x7FFFFF)).astype(numpy.uint32).view(numpy.float32) * sign
    which = z & numpy.uint64(63)
    x = numpy.select([which == 0, which == 1, which == 2, which == 3], [sign * numpy.float32(0), denormal, middle, sign * scale], x)
    if wild:
        where, rare = chunk % numpy.uint64(16), z % numpy.uint64(401) == 0
        x = numpy.select([(where == 7) & rare, (where == 9) & rare], [sign * numpy.float32("inf"), numpy.float32("nan")], x)
    return torch.from_numpy(x.astype(numpy.float32))


def hash_of(tensor):
    """FNV-1a over the hashes of pieces of 65,536 bytes; all NaNs are hashed alike."""
    if tensor.dtype == torch.float32:
        tensor = torch.where(tensor.isnan(), torch.tensor(float("nan")), tensor)
    data = tensor.contiguous().numpy().tobytes()
    pieces = fnv1a_many([data[i : i + PIECE] for i in range(0, len(data), PIECE)])
    return hex64(fnv1a(numpy.array(pieces, numpy.uint64).tobytes()))


def quantized(x, kind, size, double):
    q, state = bnb.quantize_4bit(x, quant_type=kind, blocksize=size, compress_statistics=double)
    out = {"codes": q.flatten(), "absmax": state.absmax}
    if double:
        out |= {"nested_absmax": state.state2.absmax, "nested_offset": state.offset.reshape(1)}
    state.dtype = torch.float32
    return out | {"values": bnb.dequantize_4bit(q, state).flatten()}


def special(kind):
    """Blocks of zeros, with exact midpoints, of subnormal numbers, with one infinity, with one NaN;
    and a tail of odd length."""
    middles = generated(64, kind, False)
    code = torch.tensor(sorted(bnb.get_4bit_type(kind, device="cpu").tolist()))
    middles[:15], middles[15:17] = (code[:-1] + code[1:]) / 2, torch.tensor([1.0, -1.0])
    tiny = torch.linspace(-3e-39, 3e-39, 64)
    small = torch.linspace(-1.2e-38, 1.1e-38, 64)
    infinite, nan = generated(64, kind, False), generated(64, kind, False)
    infinite[20], nan[33] = -float("inf"), float("nan")
    tail = torch.tensor([-0.5, 1e-39, 0.0, -0.0, 0.25])
    return torch.cat([torch.zeros(64), -torch.zeros(64), middles, tiny, small, infinite, nan, tail])


def cases():
    for kind in TYPES:
        yield "special", kind, 64, False, special(kind)
        yield "special", kind, 32, False, special(kind)
        yield "infinite", kind, 64, True, special(kind)[: 6 * 64]
        yield "nan", kind, 64, True, special(kind)
        yield "zero_tail", kind, 64, True, torch.zeros(67)
        yield "one", kind, 64, True, torch.tensor([-3.0])
        yield "equal", kind, 64, True, torch.full((300,), 0.5)
        for dtype in (torch.float16, torch.bfloat16):
            x = generated(3000, kind, True).to(dtype)
            yield f"generated_{str(dtype)[6:]}", kind, 128, False, x
            yield f"tame_{str(dtype)[6:]}", kind, 64, True, generated(3001, kind, False).to(dtype)


def main():
    torch.set_num_threads(1)  # the mean of absmax depends on the number of threads
    folder = output_folder() / "quant"
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for name, kind, size, double, x in cases():
        key = f"{name}.{kind}.{size}.{'double' if double else 'single'}"
        out = {"x": x} | quantized(x, kind, size, double)
        tensors |= {f"{key}.{part}": t.clone().contiguous() for part, t in out.items()}
    save_file(tensors, folder / "cases.safetensors", metadata=metadata(SEED, bitsandbytes=BITSANDBYTES))

    rows = []
    for kind in TYPES:
        for wild in (False, True):
            x = generated(COUNT, kind, wild)
            hash_of_x = hash_of(x)
            for size in SIZES:
                for double in (False,) if wild else (False, True):
                    out = quantized(x, kind, size, double)
                    rows.append([kind, size, wild, double, hash_of_x] + [hash_of(t) for t in out.values()])
    parts = ["type", "blocksize", "wild", "double", "x", "codes", "absmax", "nested_absmax and nested_offset if double", "values"]
    head = {"versions": versions() | {"bitsandbytes": BITSANDBYTES}, "seed": SEED, "count": COUNT, "parts": parts}
    write_rows(folder / "sweep.json", head, "rows", rows)


if __name__ == "__main__":
    main()
