"""Products of ggml, the library of llama.cpp, by ctypes: its mul_mat with plain or 4-bit weights, which
are laid out as ggml prefers them on this CPU (repacked, or for AMX).
"""

import ctypes
import importlib.util
import itertools
import os
import time
from ctypes import c_bool, c_char_p, c_int, c_int64, c_size_t, c_void_p

TYPES = {"f32": 0, "Q4_0": 2, "bf16": 30}


class InitParams(ctypes.Structure):
    _fields_ = [("mem_size", c_size_t), ("mem_buffer", c_void_p), ("no_alloc", c_bool)]


FUNCTIONS = {
    "ggml_init": (c_void_p, InitParams),
    "ggml_free": (None, c_void_p),
    "ggml_tensor_overhead": (c_size_t,),
    "ggml_graph_overhead": (c_size_t,),
    "ggml_new_tensor_2d": (c_void_p, c_void_p, c_int, c_int64, c_int64),
    "ggml_mul_mat": (c_void_p, c_void_p, c_void_p, c_void_p),
    "ggml_new_graph": (c_void_p, c_void_p),
    "ggml_build_forward_expand": (None, c_void_p, c_void_p),
    "ggml_nbytes": (c_size_t, c_void_p),
    "ggml_quantize_chunk": (c_size_t, c_int, c_void_p, c_void_p, c_int64, c_int64, c_int64, c_void_p),
    "ggml_version": (c_char_p,),
    "ggml_backend_alloc_ctx_tensors_from_buft": (c_void_p, c_void_p, c_void_p),
    "ggml_backend_buffer_free": (None, c_void_p),
    "ggml_backend_tensor_set": (None, c_void_p, c_void_p, c_size_t, c_size_t),
    "ggml_backend_graph_compute": (c_int, c_void_p, c_void_p),
    "ggml_backend_reg_dev_get": (c_void_p, c_void_p, c_size_t),
    "ggml_backend_reg_get_proc_address": (c_void_p, c_void_p, c_char_p),
    "ggml_backend_cpu_buffer_type": (c_void_p,),
    "ggml_backend_cpu_init": (c_void_p,),
    "ggml_backend_cpu_reg": (c_void_p,),
    "ggml_backend_cpu_set_n_threads": (None, c_void_p, c_int),
}


def folder():
    """Where llama-cpp-python keeps the libraries of ggml, or None."""
    spec = importlib.util.find_spec("llama_cpp")
    return spec and os.path.join(os.path.dirname(spec.origin), "lib")


class Ggml:
    def __init__(self, path, threads):
        libraries = [
            ctypes.CDLL(os.path.join(path, f"libggml-{part}.so"), ctypes.RTLD_GLOBAL)
            for part in ("base", "cpu")
        ]
        for name, (result, *arguments) in FUNCTIONS.items():
            function = next(getattr(lib, name) for lib in libraries if hasattr(lib, name))
            function.restype, function.argtypes = result, arguments
            setattr(self, name[len("ggml_") :], function)
        self.version_name = self.version().decode()
        self.cpu = self.backend_cpu_init()
        self.backend_cpu_set_n_threads(self.cpu, threads)

    def layouts(self):
        """Buffers for weights, the preferred ones first."""
        registry = self.backend_cpu_reg()
        address = self.backend_reg_get_proc_address(registry, b"ggml_backend_dev_get_extra_bufts")
        extra = []
        if address:
            get = ctypes.CFUNCTYPE(ctypes.POINTER(c_void_p), c_void_p)(address)
            extra = list(itertools.takewhile(bool, get(self.backend_reg_dev_get(registry, 0))))
        return [*extra, self.backend_cpu_buffer_type()]

    def context(self):
        size = 8 * self.tensor_overhead() + self.graph_overhead()
        return self.init(InitParams(size, None, True))

    def weight(self, kind, n, k, data):
        """A matrix with the values at `data`, in the first layout that takes its type."""
        for layout in self.layouts() if kind == "Q4_0" else [self.backend_cpu_buffer_type()]:
            context = self.context()
            tensor = self.new_tensor_2d(context, TYPES[kind], k, n)
            buffer = self.backend_alloc_ctx_tensors_from_buft(context, layout)
            if buffer:
                self.backend_tensor_set(tensor, data, 0, self.nbytes(tensor))
                return context, buffer, tensor
            self.free(context)
        raise RuntimeError(f"ggml has no buffer for {kind}")

    def product(self, kind, x, weight, count):
        """A function that times x [M,K] times one of `count` copies of weight [N,K] and returns seconds;
        its `close` releases them. Both are contiguous, x in f32, weight in bf16 for that kind, else f32.
        """
        (m, k), n = x.shape, weight.shape[0]
        values = weight.data_ptr()
        if kind == "Q4_0":
            codes = ctypes.create_string_buffer(n * k // 32 * 18)
            self.quantize_chunk(TYPES[kind], values, codes, 0, n, k, None)
            values = ctypes.cast(codes, c_void_p)
        owned, graphs = [], []
        for _ in range(count):
            *weight_memory, left = self.weight(kind, n, k, values)
            context = self.context()
            right = self.new_tensor_2d(context, TYPES["f32"], k, m)
            out = self.mul_mat(context, left, right)
            graphs.append(self.new_graph(context))
            self.build_forward_expand(graphs[-1], out)
            buffer = self.backend_alloc_ctx_tensors_from_buft(context, self.backend_cpu_buffer_type())
            self.backend_tensor_set(right, x.data_ptr(), 0, m * k * 4)
            owned += [weight_memory, (context, buffer)]
        turns = itertools.cycle(graphs)

        def call():
            graph = next(turns)
            begin = time.perf_counter()
            self.backend_graph_compute(self.cpu, graph)
            return time.perf_counter() - begin

        def close():
            for context, buffer in owned:
                self.backend_buffer_free(buffer)
                self.free(context)

        call.close = close
        return call
