#!/usr/bin/env python3
"""Trains the embedded checkpoint from scratch, or measures a checkpoint.

    train.py --work SCRATCH --out FOLDER      train; if stopped, the same command resumes
    train.py --evaluate FOLDER                print accuracies on 500 held-out scenes
    train.py --confidence FOLDER              print how probable answers must be to be trusted
    train.py --pictures FOLDER --out FOLDER   write the sample pictures and the right answers

Training makes the vocabulary and runs the stages:

    1 first sights   vision tower and resampler, from dense labels, with few kinds and colours
    2 perception     the same, with all kinds and colours
    3 speech         the language side, from cached latents
    4 reference      the same, also with labels for what each word means
    5 together       everything, from pixels; skipped by default

The checkpoint is written in bfloat16. `torchrun --nproc-per-node 2 train.py ...` divides the stages
among processes. Everything is seeded, but results depend on the machine's arithmetic.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from transformers import IdeficsProcessor

import ranks
from evaluate import confidence, evaluate, write_pictures
from loop import Loop
from model import new_model
from perception import Questions, see
from pool import HELD_OUT, Pool
from reference import References
from speech import School, gather
from vocabulary import save_processor

SCENES, HEARD = 60_000, 6_000          # scenes drawn; scenes of stages 3 and 4
SIMPLE_KINDS = ("circle", "square", "triangle", "star", "heart", "moon", "tree", "house", "fish", "cat")
SIMPLE_COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink")


def pool_of(path, first_seed, count):
    """A pool of drawn scenes, kept on disk between runs."""
    if not path.exists():
        torch.save(Pool(first_seed, count), path)
    return torch.load(path, weights_only=False)


def draw_batch(step, size, limit, stage):
    return torch.from_numpy(np.random.default_rng([stage, step]).integers(0, limit, size))


class Training:
    def __init__(self, work, out):
        self.work, self.out = Path(work), Path(out)
        self.work.mkdir(parents=True, exist_ok=True)
        ranks.begin()
        if ranks.RANK == 0 and not (self.out / "tokenizer.json").exists():
            save_processor(self.out)
        ranks.wait()
        self.tokenizer = IdeficsProcessor.from_pretrained(self.out).tokenizer
        self.pool = pool_of(self.work / "pool.pt", 0, SCENES)
        self.held_out = pool_of(self.work / "held_out.pt", HELD_OUT, 500)
        self.model, self.questions = new_model(self.tokenizer.vocab_size), Questions()
        core = self.model.model
        self.eyes = [core.vision_model, core.perceiver_resampler, self.questions]
        self.mouth = [core.embed_tokens, core.layers, core.gated_cross_attn_layers, core.norm, self.model.lm_head]

    def perception_loss(self, scenes):
        seen = see(self.model, self.pool.images(scenes))
        return seen[1], self.questions.loss(*seen, self.pool.labels(scenes))

    def speech_loss(self, batch, latents):
        """Cross entropy of the tokens to generate. The model's own loss lacks the added tokens."""
        labels = batch.pop("labels")[:, 1:]
        logits = self.model(**batch, perceiver_embeddings=latents, use_cache=False).logits[:, :-1]
        return cross_entropy(logits[labels >= 0], labels[labels >= 0])

    @torch.no_grad()
    def latents_of(self, pool, scenes):
        return torch.cat([see(self.model, pool.images(part))[1] for part in scenes.split(250)])

    def seen(self):
        """What the first latents hold of held-out scenes: kinds, colours, roles, whole scenes."""
        scores = self.questions.score(self.latents_of(self.held_out, torch.arange(500)), self.held_out.labels(torch.arange(500))[0])
        return "kind {:.3f} colour {:.3f} role {:.3f} scene {:.3f}".format(*scores)

    def first_sights(self, steps):
        """Only the plainest scenes: with few kinds and colours, the tower learns quickly."""
        simple = self.pool.only(SIMPLE_KINDS, SIMPLE_COLOURS)
        draw = lambda step: self.perception_loss(simple[draw_batch(step, 96, len(simple), 0)])[1]
        Loop(self.work / "first_sights.pt", self.eyes, 1.5e-3, steps).run(draw, self.seen, 100)

    def perceive(self, steps):
        draw = lambda step: self.perception_loss(draw_batch(step, 64, SCENES, 1))[1]
        Loop(self.work / "perception.pt", self.eyes, 1e-3, steps).run(draw, self.seen, 100)

    def speak(self, steps):
        """Latents are computed once; only the language side learns."""
        for module in self.eyes:
            module.requires_grad_(False)
        mine = torch.arange(HEARD).chunk(ranks.RANKS)[ranks.RANK]
        latents, school = ranks.join_rows(self.latents_of(self.pool, mine)), School(self.tokenizer, self.pool, HEARD)

        def loss_of(step):
            batch, scenes = school.batch(step, 6_000)
            return self.speech_loss(batch, gather(latents, scenes))

        Loop(self.work / "speech.pt", self.mouth, 2e-3, steps).run(loss_of, every=50)

    def refer(self, steps):
        """Continues speech, with labels for what each word means."""
        mine = torch.arange(HEARD).chunk(ranks.RANKS)[ranks.RANK]
        latents, school = ranks.join_rows(self.latents_of(self.pool, mine)), School(self.tokenizer, self.pool, HEARD)
        references = References(self.model, self.tokenizer)

        def loss_of(step):
            batch, scenes = school.batch(2_000_000 + step, 6_000)
            speech = self.speech_loss(batch, gather(latents, scenes))
            return speech + 0.3 * references.loss(batch, gather(self.pool.things, scenes))

        Loop(self.work / "reference.pt", [*self.mouth, references], 1.5e-3, steps).run(loss_of, every=50)

    def together(self, steps):
        """The whole model, from pixels; dense labels keep the vision side from forgetting."""
        for module in self.eyes:
            module.requires_grad_(True)
        school = School(self.tokenizer, self.pool, SCENES)

        def loss_of(step):
            batch, scenes = school.batch(1_000_000 + step, 6_000)
            shown = sorted({scene for chosen in scenes for scene in chosen}) or [0]
            latents, seeing = self.perception_loss(torch.tensor(shown))
            local = [[shown.index(scene) for scene in chosen] for chosen in scenes]
            return self.speech_loss(batch, gather(latents, local)) + 0.3 * seeing

        Loop(self.work / "together.pt", self.eyes + self.mouth, 6e-4, steps).run(loss_of, self.seen, 100)

    def write(self):
        self.model.to(torch.bfloat16).save_pretrained(self.out)
        (self.out / "model.safetensors").chmod(0o644)


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--work", default="build/tiny", help="scratch folder for the pools and the state of each stage")
    options.add_argument("--out", default="build/tiny/checkpoint")
    options.add_argument("--evaluate", metavar="FOLDER")
    options.add_argument("--confidence", metavar="FOLDER")
    options.add_argument("--pictures", metavar="FOLDER")
    options.add_argument("--steps", type=int, nargs=5, default=(750, 380, 1400, 700, 0),
                         metavar=("FIRST", "SEE", "SPEAK", "REFER", "TOGETHER"))
    chosen = options.parse_args()
    if chosen.evaluate:
        return evaluate(chosen.evaluate)
    if chosen.confidence:
        return confidence(chosen.confidence)
    if chosen.pictures:
        return write_pictures(chosen.out, chosen.pictures)
    training = Training(chosen.work, chosen.out)
    for stage, steps in zip((training.first_sights, training.perceive, training.speak, training.refer, training.together), chosen.steps):
        if steps:
            stage(steps)
    if ranks.RANK == 0:
        training.write()


if __name__ == "__main__":
    main()
