"""Files of torch.save: what pytorch_model.bin may contain, and what it must not.

Writes tests/golden/data/torch_files/: mixed.bin, with every dtype and every layout of tensors in
storages; mixed.safetensors, the same tensors in row-major order; interval_three/, the checkpoint of
that name, sharded as transformers saves it; malicious.bin, with a pickle that would run a command.
"""

import collections
import os
import shutil

import torch
from common import GOLDEN, metadata, output_folder
from safetensors.torch import save_file
from transformers import IdeficsForVisionText2Text

SEED = 20261124


class Malicious:
    def __reduce__(self):
        return os.system, ("touch /tmp/idefics-was-here",)


def mixed():
    """Like the state of a module: an ordered dict with an attribute, and with some parameters."""
    torch.manual_seed(SEED)
    base = torch.randn(4, 6)
    tensors = collections.OrderedDict(
        f32=base, f16=torch.randn(3, 5).half(), bf16=torch.randn(7).bfloat16(), f64=torch.randn(2).double(), i64=torch.arange(5) - 2,
        i32=torch.arange(4, dtype=torch.int32), i16=torch.arange(3, dtype=torch.int16), i8=torch.arange(3, dtype=torch.int8),
        u8=torch.arange(9, dtype=torch.uint8), bool=torch.tensor([True, False, True]), tied=base, rows=base[1:3], columns=base[:, 2:5],
        transposed=base.t(), permuted=torch.randn(2, 3, 4).bfloat16().permute(2, 0, 1), steps=torch.arange(10).float()[1::3],
        column=base[:, 3:4], expanded=torch.arange(3).expand(1, 3), scalar=torch.tensor(2.5), empty=torch.zeros(0, 3),
        parameter=torch.nn.Parameter(torch.randn(2, 2)), several=torch.zeros(1, 2, 1, 2, 1))
    tensors._metadata = collections.OrderedDict({"": {"version": 1}})
    return tensors


def main():
    out = output_folder() / "torch_files"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    tensors = mixed()
    torch.save(tensors, out / "mixed.bin")
    save_file({k: v.detach().clone().contiguous() for k, v in tensors.items()}, out / "mixed.safetensors", metadata=metadata(SEED))
    torch.save({"a": Malicious()}, out / "malicious.bin")
    model = IdeficsForVisionText2Text.from_pretrained(GOLDEN / "models" / "interval_three")
    model.save_pretrained(out / "interval_three", safe_serialization=False, max_shard_size="60KB")


if __name__ == "__main__":
    main()
