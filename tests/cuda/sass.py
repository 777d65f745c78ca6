"""Budgets for the machine code of the hot CUDA kernels: compiles each for sm_90a and sm_80, reads its main
loop, and prints a table. Exits with 1 if a budget is exceeded, with 77 if there is no nvcc or no nvdisasm
(PyPI: nvidia-cuda-nvdisasm).

usage: sass.py ROOT NVCC [--mutant]      --mutant: with the faults of MUTANTS, which must be noticed

The main loop is the smallest one with most of the kernel's `work`; a kernel without is read as a whole, and
only its loads in flight and its registers have budgets. Time is counted in round trips to device
memory: an instruction that needs a loaded value waits until one trip after the load was issued, and all
else takes no time. So a loop that loads everything before it uses anything has one trip per turn, and a
load whose address was loaded costs one more.
"""
import concurrent.futures
import importlib.util
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass

ARCHITECTURES = ("sm_90a", "sm_80")


@dataclass
class Budget:
    title: str
    header: str
    kernel: str          # as C++
    unit: str            # of work, for the table
    work: str            # the instructions that do it, a regular expression …
    per_unit: int        # … and how many of them a unit takes
    instructions: float  # at most, per unit
    loads: int           # at least, in flight per thread
    registers: int       # at most
    threads: int = 256   # of a block
    shared: int = 0      # bytes of a block
    trips: int = 1       # at most, per turn of the loop
    whole: bool = False  # no main loop
    arguments: str = ""  # of the template, mangled, if its header instantiates it for several


def bf16(title, arguments, **other):
    return Budget(title, "cuda/linear_bf16_gemv.cuh", f"gemv_bf16_kernel<{arguments}>", "16 k", "HMMA", **other)


def four_bits(title, arguments, **other):
    return Budget(title, "cuda/linear_4bit_gemv.cuh", f"gemv_4bit_kernel<{arguments}>", "64 k x 2 rows", "HMMA", **other)


def whole(title, header, kernel, **other):
    return Budget(title, header, kernel, "kernel", "EXIT", per_unit=1, instructions=2000, trips=99, whole=True, **other)


K = 4096
TABLES = 4 * (256 * 32 + 256)  # pairs and map
BUDGETS = (
    bf16("bf16 GEMV, 1 row in f32", "1, true, true, bf16_t, float", per_unit=1, instructions=24, loads=12, registers=80,
         shared=4096 + 2 * (K + 16)),
    bf16("bf16 GEMV, 1 row in bf16", "1, true, true, bf16_t, bf16_t", per_unit=1, instructions=24, loads=12, registers=80,
         shared=4096 + 2 * (K + 16)),
    bf16("bf16 GEMV, 8 long rows", "1, true, false, bf16_t, bf16_t", per_unit=1, instructions=24, loads=12, registers=128,
         shared=4096),
    bf16("bf16 GEMV, 9 to 16 rows", "2, true, false, bf16_t, bf16_t", per_unit=2, instructions=24, loads=12, registers=128,
         shared=8192),
    four_bits("NF4 GEMV, 1 row in f32", "1, FourBitBlocks::plain, true, float", per_unit=4, instructions=80, loads=16,
              registers=80, shared=TABLES + 4096 + 2 * (K + 32)),
    four_bits("NF4 (double) GEMV, 1 row in f32", "1, FourBitBlocks::nested, true, float", per_unit=4, instructions=80, loads=16,
              registers=80, shared=TABLES + 4096 + 2 * (K + 32)),
    four_bits("NF4 (double) GEMV, 1 row in bf16", "1, FourBitBlocks::nested, true, bf16_t", per_unit=4, instructions=80,
              loads=16, registers=80, shared=TABLES + 4096 + 2 * (K + 32)),
    four_bits("NF4 (double) GEMV, 8 long rows", "1, FourBitBlocks::nested, false, bf16_t", per_unit=4, instructions=100,
              loads=12, registers=128, shared=TABLES + 4096),
    four_bits("NF4 (double) GEMV, 9 to 16 rows", "2, FourBitBlocks::nested, false, bf16_t", per_unit=8, instructions=120,
              loads=12, registers=128, shared=TABLES + 8192),
    whole("attention of a step, heads of 128", "cuda/attention_decode.cuh", "attention_decode_kernel<128, float, AttentionTile>",
          loads=36, registers=128, threads=128, arguments="ILi128Ef"),
    whole("merging its chunks", "cuda/attention_decode.cuh", "attention_merge_kernel<AttentionTile>", loads=24, registers=64,
          threads=128),
    whole("rms_norm, up to 4096 wide", "cuda/norm.cuh", "rms_norm_kernel<4, bf16_t, float>", loads=4, registers=64,
          arguments="ILi4ENS0_6bf16_t"),
    whole("rms_norm, up to 8192 wide", "cuda/norm.cuh", "rms_norm_kernel<8, bf16_t, float>", loads=8, registers=96,
          arguments="ILi8ENS0_6bf16_t"),
    whole("layer_norm, up to 4096 wide", "cuda/norm.cuh", "layer_norm_kernel<4, bf16_t, const bf16_t*>", loads=8, registers=96,
          arguments="ILi4ENS0_6bf16_t"),
)


@dataclass
class Epilogue:
    """What follows the last product of a kernel for many rows: loads of bias and residual, then stores, in batches."""
    title: str
    header: str
    kernel: str
    loads: int      # at least, before the first store
    batches: int    # at most
    registers: int  # at most
    architectures: tuple = ("sm_90a",)


EPILOGUES = (
    Epilogue("bf16 wgmma, tile of 192", "cuda/linear_bf16_wgmma.cuh", "gemm_wgmma_kernel<WgmmaTile<192>>", loads=34, batches=3,
             registers=168),
    Epilogue("bf16 wgmma, tile of 192, rows shared", "cuda/linear_bf16_wgmma.cuh", "gemm_wgmma_kernel<WgmmaTile<192, 2>>",
             loads=34, batches=3, registers=168),
    Epilogue("bf16 mma.sync, 128 x 128", "cuda/linear_bf16_gemm.cuh", "gemm_bf16_kernel<GemmTile<128, 128, 64, 32>, bf16_t>",
             loads=40, batches=2, registers=256, architectures=ARCHITECTURES),
    Epilogue("NF4 wgmma, tile of 128", "cuda/linear_4bit_wgmma.cuh", "gemm_4bit_wgmma_kernel<FourBitWgmmaTile<128>>", loads=34,
             batches=2, registers=168),
    Epilogue("NF4 mma.sync, 128 x 64", "cuda/linear_4bit_gemm.cuh", "gemm_4bit_kernel<FourBitMatrix>", loads=36, batches=1,
             registers=256, architectures=ARCHITECTURES),
)

# Files, what is replaced, and by what: the map of double quantization is read from device memory, by a code
# that was read from there; a residual is loaded after the store of its neighbour.
MUTANTS = (("cuda/linear_4bit_gemv.cuh", "scales.expand(map, ", "scales.expand(matrix.map, "),
           ("cuda/linear_tile_end.cuh", "batch = fragments < 8 ? fragments : 8", "batch = 1"))


def find_disassembler(nvcc):
    spec = importlib.util.find_spec("nvidia")
    folders = [pathlib.Path(nvcc).resolve().parent] + [f / "bin" for p in (spec.submodule_search_locations if spec else ())
                                                       for f in pathlib.Path(p).iterdir()]
    return next((str(f / "nvdisasm") for f in folders if (f / "nvdisasm").is_file()), shutil.which("nvdisasm"))


@dataclass
class Instruction:
    labels: set     # before it
    predicate: str
    opcode: str
    operands: str

    def registers(self):
        """Written, read: names of general registers, as far as loads and their uses need them."""
        first, _, rest = self.operands.partition(",")
        stores = self.opcode.startswith(("ST", "RED", "BRA", "BAR", "R2UR"))
        width = {"64": 2, "128": 4}.get(next((p for p in self.opcode.split(".") if p in ("64", "128")), ""), 1)
        if self.opcode.startswith("HMMA"):
            width = 4
        written = [] if stores else expand(first, width)
        if not stores:
            sources = rest
        else:
            sources = self.operands
        wide = {"HMMA": 4, "ST": width}.get(self.opcode[:4] if self.opcode.startswith("HMMA") else self.opcode[:2], 1)
        return set(written), {r for found in re.findall(r"\bR\d+(?:\.64)?", sources)
                              for r in expand(found, 2 if found.endswith(".64") else wide)}


def expand(register, width):
    number = re.match(r"\s*R(\d+)", register)
    return [f"R{int(number[1]) + i}" for i in range(width)] if number else []


def parse(text, name):
    """The instructions of the one kernel whose mangled name contains `name`."""
    sections = [s for s in text.split(".section\t.text.")[1:] if name in s.split(",")[0].splitlines()[0]]
    if len(sections) != 1:
        raise SystemExit(f"{len(sections)} kernels are called {name}")
    result, labels = [], set()
    for line in sections[0].splitlines():
        if found := re.match(r"\s*(\.L_x_\d+):", line):
            labels.add(found[1])
        elif found := re.match(r"\s*/\*[0-9a-f]{4,}\*/\s+(@!?U?P[\dT]+\s+)?([A-Z][A-Z0-9_.]*)\s*(.*?)\s*;", line):
            result.append(Instruction(labels, (found[1] or "").strip(), found[2], found[3]))
            labels = set()
    return result


def main_loop(code, work):
    """Without what only a warp that has diverged executes: from BRA.CONV to its target."""
    at = {label: n for n, i in enumerate(code) for label in i.labels}
    loops = []
    for end, i in enumerate(code):
        target = re.search(r"\.L_x_\d+", i.operands)
        if i.opcode.startswith("BRA") and target and at.get(target[0], end + 1) <= end:
            body = code[at[target[0]]:end + 1]
            loops.append((-sum(bool(re.match(work, b.opcode)) for b in body), len(body), body))
    inner = [l for l in loops if -l[0] > 0]
    if not inner:
        raise SystemExit(f"no loop with {work}")
    # The smallest loops: those that contain no other with work. Of these, the one with most work.
    inner = [l for l in inner if not any(m is not l and m[0] < 0 and m[1] < l[1] and m[2][0] in l[2] for m in inner)]
    result, skip = [], ""
    for i in min(inner)[2]:
        skip = "" if skip in i.labels else skip
        if not skip:
            result.append(i)
        if i.opcode == "BRA.CONV":
            skip = re.search(r"\.L_x_\d+", i.operands)[0]
    return result


def is_load(i):
    return i.opcode.startswith("LDG") and not i.opcode.startswith("LDGSTS")


def trips(body):
    """Round trips per turn, and the most loads and bytes in flight, in the second of two turns."""
    clock, arrival, flying, loads, size, start = 0, {}, {}, 0, 0, 0
    for turn in range(2):
        start, loads, size = clock, 0, 0
        for i in body:
            written, read = i.registers()
            clock = max([clock] + [arrival[r] for r in read | written if r in arrival])
            flying = {r: of_load for r, of_load in flying.items() if of_load[0] > clock}
            for r in written:
                arrival.pop(r, None)
            if is_load(i) and written:
                arrival.update({r: clock + 1 for r in written})
                flying[min(written)] = (clock + 1, width_of(i))
                loads, size = max(loads, len(flying)), max(size, sum(width for _, width in flying.values()))
    return clock - start, loads, size


def width_of(load):
    parts = load.opcode.split(".")
    return next((bytes_ for name, bytes_ in (("128", 16), ("64", 8), ("U8", 1), ("U16", 2)) if name in parts), 4)


def warps(registers, threads, shared, arch):
    """Resident warps of a multiprocessor."""
    of_multiprocessor = {"sm_80": 164, "sm_90a": 228}[arch] * 1024
    blocks = min(65536 // (-(-registers // 8) * 8 * threads), 2048 // threads, of_multiprocessor // (shared + 1024))
    return blocks * threads // 32


def compiled(root, nvcc, disassembler, kernel, header, arch, stem, arguments=""):
    """The instructions of a kernel, and its registers."""
    stem.with_suffix(".cu").write_text(
        f'#include "{header}"\nnamespace idefics::cuda {{ const void* hot() {{ return reinterpret_cast<const void*>('
        f'&{kernel}); }} }}\n')
    built = subprocess.run(
        [nvcc, "-std=c++20", "-O3", "-fmad=false", "-D", "IDEFICS_CUDA", "-I", f"{root}/include", "-I", str(root), f"-arch={arch}",
         "-cubin", "-Xptxas", "-v", "-o", stem.with_suffix(".cubin"), stem.with_suffix(".cu")], capture_output=True, text=True)
    if built.returncode:
        raise SystemExit(built.stdout + built.stderr)
    plain = kernel.split("<")[0]
    name = f"{len(plain)}{plain}{arguments}"
    log = next(part for part in built.stderr.split("Compiling entry function")[1:] if name in part.splitlines()[0])
    text = subprocess.run([disassembler, "-c", stem.with_suffix(".cubin")], capture_output=True, text=True, check=True).stdout
    return parse(text, name), int(re.search(r"Used (\d+) registers", log)[1])


def measure_epilogue(job):
    root, nvcc, disassembler, epilogue, arch, work = job
    stem = pathlib.Path(work) / f"epilogue_{EPILOGUES.index(epilogue)}_{arch}"
    code, registers = compiled(root, nvcc, disassembler, epilogue.kernel, epilogue.header, arch, stem)
    last = max(n for n, i in enumerate(code) if re.match(r"HG?MMA", i.opcode))
    order = "".join("S" if i.opcode.startswith("STG") else "L" for i in code[last:] if is_load(i) or i.opcode.startswith("STG"))
    first, batches = len(order) - len(order.lstrip("L")), len(re.findall("S+", order))
    faults = [f"{epilogue.title}, {arch}: epilogue: {what}" for wrong, what in (
        (first < epilogue.loads, f"{first} loads before the first store, the budget is {epilogue.loads}"),
        (batches > epilogue.batches, f"{batches} batches of stores, the budget is {epilogue.batches}"),
        (registers > epilogue.registers, f"{registers} registers, the budget is {epilogue.registers}"),
        (any(re.match(r"(LDL|STL)\b", i.opcode) for i in code), "local memory")) if wrong]
    return f"| {epilogue.title} | {arch} | {first} | {batches} | {registers} |", faults


def measure(job):
    root, nvcc, disassembler, budget, arch, work = job
    stem = pathlib.Path(work) / f"{BUDGETS.index(budget)}_{arch}"
    code, registers = compiled(root, nvcc, disassembler, budget.kernel, budget.header, arch, stem, budget.arguments)
    body = code if budget.whole else main_loop(code, budget.work)
    units = 1 if budget.whole else sum(bool(re.match(budget.work, i.opcode)) for i in body) / budget.per_unit
    turn, loads, size = trips(body)
    resident = warps(registers, budget.threads, budget.shared, arch)
    flight = size * 32 * resident / 1024
    faults = []
    def check(value, fits, limit, what):
        if not fits:
            faults.append(f"{budget.title}, {arch}: {value:g} {what}, the budget is {limit:g}")
    check(len(body) / units, len(body) / units <= budget.instructions, budget.instructions, f"instructions per {budget.unit}")
    check(loads, loads >= budget.loads, budget.loads, "loads in flight")
    check(turn, turn <= budget.trips, budget.trips, "round trips per turn of the main loop")
    check(registers, registers <= budget.registers, budget.registers, "registers")
    for what, pattern, where in (("local memory", r"(LDL|STL)\b", code), ("a generic load", r"LD(\.|$)", code),
                                 # BRA.DIV and BRA.CONV leave only if a warp has diverged; the last two
                                 # instructions may be an exit and the way back.
                                 ("a branch in the main loop", r"(BRA(?!\.DIV|\.CONV)|BRX|BSSY|CALL|JMP)\b",
                                  () if budget.whole else body[:-2])):
        if found := next((i for i in where if re.match(pattern, i.opcode)), None):
            faults.append(f"{budget.title}, {arch}: {what}: {found.opcode} {found.operands}")
    row = (f"| {budget.title} | {arch} | {len(body) / units:.1f} per {budget.unit} | {loads} | {turn} | {registers} | {resident} "
           f"| {flight:.0f} KiB |")
    return row, faults


def main():
    root, nvcc = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2]
    if not os.access(nvcc, os.X_OK):
        print("skipped: no nvcc")
        return 77
    disassembler = find_disassembler(nvcc)
    if not disassembler:
        print("skipped: no nvdisasm beside nvcc, in PATH or from PyPI (nvidia-cuda-nvdisasm)")
        return 77
    with tempfile.TemporaryDirectory() as work:
        budgets = BUDGETS
        if "--mutant" in sys.argv:
            shutil.copytree(root / "cuda", f"{work}/cuda")
            (pathlib.Path(work) / "include").symlink_to(root / "include")
            root = pathlib.Path(work)
            for file, before, after in MUTANTS:
                text = (root / file).read_text()
                if text.count(before) != 1:
                    raise SystemExit(f"stale mutant: {file} lacks {before}")
                (root / file).write_text(text.replace(before, after))
            budgets = [b for b in BUDGETS if b.header in {m[0] for m in MUTANTS}]
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            tiles = list(pool.map(measure_epilogue, [(root, nvcc, disassembler, e, arch, work) for e in EPILOGUES
                                                     for arch in e.architectures]))
            results = list(pool.map(measure, [(root, nvcc, disassembler, b, arch, work) for b in budgets for arch in ARCHITECTURES]))
    print("| kernel | for | instructions | loads in flight | round trips | registers | warps | in flight per multiprocessor |")
    print("|---|---|---|---|---|---|---|---|")
    print("\n".join(row for row, _ in results))
    print("\n| epilogue of | for | loads before the first store | batches of stores | registers |")
    print("|---|---|---|---|---|")
    print("\n".join(row for row, _ in tiles))
    faults = [f for _, of_row in results + tiles for f in of_row]
    print("\n".join(faults))
    if "--mutant" in sys.argv:
        return 0 if all(any(words in f for f in faults) for words in ("round trips", "epilogue")) else 1
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
