"""transformers' attention weights in greedy and beam search, on the checkpoints of make_models.py.

Writes tests/golden/data/modes/attentions.{json,safetensors}: left-padded batches, and for each step
of each returned row the weights of the query whose logits chose the token. generate returns those
of self-attention; those of cross-attention, which it omits, are read from the modules. For a token
that sees no picture the reference's weights are meaningless (it masks every key, then drops the
result), so zeros are recorded.
"""

import random

import torch
from common import metadata, output_folder, versions, write_rows
from make_beams import Case, Margins, load
from safetensors.torch import save_file

SEED, CASES_PER_MODEL = 20261128, 4
MODELS = ("published", "no_resampler", "vector_gates", "odd_widths")


class CrossAttentions:
    """Keeps the weights of the last query in every cross-attention layer, pass by pass."""

    def __init__(self, model):
        self.passes, self.layers = [], len(model.model.gated_cross_attn_layers)
        for i, layer in enumerate(model.model.gated_cross_attn_layers):
            layer.cross_attn.register_forward_hook(lambda m, a, out, i=i: self.see(i, out[1]))

    def see(self, layer, weights):
        if layer == 0:
            self.passes.append([])
        self.passes[-1].append(weights[:, :, -1])

    def steps(self):
        return [torch.stack(layers, 1) for layers in self.passes]  # per pass [M, layers, H, J]


@torch.no_grad()
def record(name, rng, cases, tensors):
    model, pool = load(name)
    model.set_attn_implementation("eager")  # other implementations return no weights
    cross, margins = CrossAttentions(model), Margins(model)
    for i in range(CASES_PER_MODEL):
        beams = (1, 3, 1, 2)[i]
        case = Case(rng, model, pool, longest=6, least_rows=2, most_rows=2)
        while max(row["seen"][-1] for row in case.rows) < i // 2:  # 1: sees the second picture
            case = Case(rng, model, pool, longest=6, least_rows=2, most_rows=2)
        inputs = case.inputs()
        free = model.generate(**inputs, max_new_tokens=4, do_sample=False, eos_token_id=None)
        ends = [int(free[0, -1])]  # so that some rows end early
        options = dict(num_beams=beams, num_return_sequences=min(beams, 1 + i // 2), eos_token_id=ends, max_new_tokens=5)
        cross.passes, margins.least = [], 1e9
        out = model.generate(**inputs, **options, do_sample=False, output_attentions=True, output_scores=True, return_dict_in_generate=True)
        new = out.sequences[:, case.width() :]
        if beams > 1:
            source, margin = out.beam_indices, margins.least
        else:
            source = torch.arange(len(new))[:, None].expand(new.shape)
            best = torch.stack([step.topk(2).values for step in out.scores])
            margin = float((best[..., 0] - best[..., 1]).min())
        blind = [not case.rows[row // options["num_return_sequences"]]["seen"][-1] >= 0 for row in range(len(new))]
        of_cross, of_self = cross.steps(), [torch.stack([w[:, :, -1] for w in step], 1) for step in out.attentions]
        kept_cross = torch.zeros(new.shape[1], len(new), *of_cross[0].shape[1:])
        kept_self = torch.zeros(new.shape[1], len(new), *of_self[0].shape[1:3], case.width() + new.shape[1] - 1)
        lengths = []
        for row, chosen in enumerate(new.tolist()):
            # after its end a row of beam_indices is -1; in greedy search it ends with its end token
            length = int((source[row] >= 0).sum()) if beams > 1 else next((j + 1 for j, t in enumerate(chosen) if t in ends), len(chosen))
            lengths.append(length)
            for step in range(length):
                if not blind[row]:
                    kept_cross[step, row] = of_cross[step][source[row, step]]
                weights = of_self[step][source[row, step]]
                kept_self[step, row, :, :, : weights.shape[-1]] = weights
        tensors[f"{len(cases)}.cross_attentions"], tensors[f"{len(cases)}.attentions"] = kept_cross, kept_self
        recorded = dict(model=name, rows=case.rows, options=options, new_tokens=new.tolist(), lengths=lengths, margin=round(margin, 7))
        if beams > 1:
            recorded["beam_indices"] = out.beam_indices.tolist()
        cases.append(recorded)


def record_all(stem, models, seed, record_model):
    """Writes modes/<stem>.json and .safetensors: what record_model adds to cases and tensors."""
    torch.set_num_threads(1)
    rng, cases, tensors = random.Random(seed), [], {}
    for name in models:
        record_model(name, rng, cases, tensors)
        print(name, flush=True)
    folder = output_folder() / "modes"
    write_rows(folder / f"{stem}.json", dict(versions=versions(), seed=seed), "cases", cases)
    save_file(tensors, folder / f"{stem}.safetensors", metadata=metadata(seed))


if __name__ == "__main__":
    record_all("attentions", MODELS, SEED, record)
