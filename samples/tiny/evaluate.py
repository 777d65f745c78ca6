"""Measures what a checkpoint can do, through the processor and `generate`, as a user would."""

import json
import random
from pathlib import Path

import torch
from transformers import IdeficsForVisionText2Text, IdeficsProcessor

from pool import HELD_OUT, picture_of
from talk import ASKERS, CLASSIFY, NUMBERS, STORY, VQA, ask, ask_colour, ask_count, ask_what, ask_where, caption, story
from world import KINDS, draw, sample_scene

UNSEEN = HELD_OUT + 1_000_000          # first seed of the evaluation
SHOWN = HELD_OUT + 2_000_000           # first seed of the sample pictures
PICTURES = (2, 10, 22, 47, 21)         # added to SHOWN; chosen for good looks and right answers


class Speaker:
    """Completes prompts greedily with a checkpoint."""

    def __init__(self, folder, dtype=torch.float32):
        self.model = IdeficsForVisionText2Text.from_pretrained(folder, dtype=dtype).eval()
        self.processor = IdeficsProcessor.from_pretrained(folder)

    @torch.no_grad()
    def __call__(self, prompts, chat=False, batch=50):
        """The completions of the prompts. With `chat`, the prompts contain <end_of_utterance>."""
        replies = []
        for start in range(0, len(prompts), batch):
            options = dict(add_end_of_utterance_token=False) if chat else {}
            inputs = self.processor(text=prompts[start:start + batch], return_tensors="pt", **options)
            ids = self.model.generate(**inputs, max_new_tokens=48)[:, inputs["input_ids"].shape[1]:]
            replies += [text.strip() for text in self.processor.batch_decode(ids, skip_special_tokens=True)]
        return replies


    @torch.no_grad()
    def probabilities(self, prompts, batch=50):
        """The completions of the prompts, each with the probability of all its tokens together."""
        found = []
        for start in range(0, len(prompts), batch):
            inputs = self.processor(text=prompts[start:start + batch], return_tensors="pt")
            out = self.model.generate(**inputs, max_new_tokens=48, output_logits=True, return_dict_in_generate=True)
            ids = out.sequences[:, inputs["input_ids"].shape[1]:]
            chosen = torch.stack(out.logits, 1).log_softmax(-1).gather(-1, ids[..., None])[..., 0]
            ended = (ids == self.processor.tokenizer.eos_token_id).cumsum(1)
            counts = (ended == 0) | ((ended == 1) & (ids == self.processor.tokenizer.eos_token_id))
            texts = self.processor.batch_decode(ids, skip_special_tokens=True)
            found += zip((text.strip() for text in texts), (chosen * counts).sum(1).exp().tolist())
        return found


# ---- prompts: see prompts.md ----

def question_prompt(picture, question):
    return [VQA, picture, f"Question: {question} Answer:"]


def chat_prompt(picture, question):
    return ["User:", picture, f"{question}<end_of_utterance>", "\nAssistant:"]


def next_turn(prompt, reply, question):
    return [*prompt[:-1], f"{prompt[-1]} {reply}<end_of_utterance>", f"\nUser: {question}<end_of_utterance>", "\nAssistant:"]


def examples_prompt(shown, picture):
    """`shown` is a list of pictures with their captions."""
    told = [item for image, words in shown for item in ("User:", image, f"Describe this image.\nAssistant: {words}\n")]
    return [*told, "User:", picture, "Describe this image.\nAssistant:"]


def category_prompt(picture, categories):
    return [CLASSIFY.format(list(categories)), picture, "Category:"]


# ---- the measurement ----

class Exam:
    def __init__(self, folder, dtype, count):
        self.speaker, self.count = Speaker(folder, dtype), count
        self.scenes = [sample_scene(UNSEEN + i) for i in range(count)]
        self.pictures = [picture_of(scene, UNSEEN + i) for i, scene in enumerate(self.scenes)]
        self.pairs = list(zip(self.pictures, self.scenes))

    def grade(self, name, prompts, truths, chat=False):
        said = self.speaker(prompts, chat)
        wrong = [(truth, reply) for truth, reply in zip(truths, said) if truth != reply]
        self._print(name, len(truths) - len(wrong), len(truths), wrong)
        return said

    def _print(self, name, right, total, wrong):
        example = f"   e.g. expected {wrong[0][0]!r}, got {wrong[0][1]!r}" if wrong else ""
        print(f"{name:34} {right / max(1, total):7.1%}  ({right}/{total}){example}", flush=True)

    def captions(self):
        truths = [caption(scene) for scene in self.scenes]
        said = self.grade("caption, no text", [[picture] for picture in self.pictures], truths)
        for things in (1, 2, 3):
            chosen = [i for i, scene in enumerate(self.scenes) if len(scene.things) == things]
            wrong = [(truths[i], said[i]) for i in chosen if truths[i] != said[i]]
            self._print(f"  with {NUMBERS[things]}", len(chosen) - len(wrong), len(chosen), wrong)
        self.grade("caption, continued text", [[p, "This is an image of"] for p in self.pictures], truths)
        shown = [[(self.pictures[i - 2], truths[i - 2]), (self.pictures[i - 1], truths[i - 1])] for i in range(self.count)]
        self.grade("caption, two examples", [examples_prompt(s, p) for s, p in zip(shown, self.pictures)], truths)

    def questions(self):
        rng = random.Random("exam")
        for sort in ASKERS:
            asked = [(picture, ask(scene, rng, sort)) for picture, scene in self.pairs]
            asked = [(picture, found) for picture, found in asked if found]
            self.grade(f"question: {sort}", [question_prompt(p, q) for p, (q, _) in asked], [answer for _, (_, answer) in asked])

    def chat(self):
        """Grades both turns. The second question follows the first reply, right or wrong."""
        rng = random.Random("chat")
        prompts, truths = [chat_prompt(p, "What is this?") for p in self.pictures], [caption(s) for s in self.scenes]
        first = self.grade("chat, first turn", prompts, truths, chat=True)
        asked = [ask(scene, rng) for scene in self.scenes]
        second = [next_turn(prompt, reply, question) for prompt, reply, (question, _) in zip(prompts, first, asked)]
        self.grade("chat, second turn", second, [answer for _, answer in asked], chat=True)

    def others(self):
        rng = random.Random("others")
        alone = [(picture, scene.things[0].kind) for picture, scene in self.pairs if len(scene.things) == 1]
        lists = [rng.sample([k for k in KINDS if k != kind], 4) + [kind] for _, kind in alone]
        prompts = [category_prompt(p, rng.sample(names, 5)) for (p, _), names in zip(alone, lists)]
        self.grade("category", prompts, [kind for _, kind in alone])
        self.grade("story", [[STORY, picture, "Story:\n"] for picture in self.pictures], [story(s) for s in self.scenes])
        self.grade("no picture", [["User: Hello!<end_of_utterance>", "\nAssistant:"]],
                   ["Hello! Show me a picture and I will tell you what I see."], chat=True)


def evaluate(folder, count=500, dtypes=(torch.float32, torch.bfloat16)):
    for dtype in dtypes:
        print(f"{folder}, {count} held-out scenes, {dtype}")
        exam = Exam(folder, dtype, count)
        for part in (exam.captions, exam.questions, exam.chat, exam.others):
            part()


def confidence(folder, count=500, wanted=0.98):
    """How probable an answer about its world must be for so many of these answers to be right."""
    exam, rng, answers = Exam(folder, torch.float32, count), random.Random("confidence"), []
    asked = [(picture, ask(scene, rng, rng.choice(tuple(ASKERS)))) for picture, scene in exam.pairs]
    asked = [(question_prompt(p, found[0]), found[1]) for p, found in asked if found]
    captions = [([picture], caption(scene)) for picture, scene in exam.pairs]
    for prompts in (captions, asked):
        said = exam.speaker.probabilities([prompt for prompt, _ in prompts])
        answers += [(probability, reply == truth) for (reply, probability), (_, truth) in zip(said, prompts)]
    for hundredth in range(0, 100):
        above = [right for probability, right in answers if probability >= hundredth / 100]
        below = [right for probability, right in answers if probability < hundredth / 100]
        if sum(above) >= wanted * len(above):
            break
    print(f"from probability {hundredth / 100}: {sum(above)} of {len(above)} right; below: {sum(below)} of {len(below)}")


# ---- the sample pictures ----

def write_pictures(folder, out):
    """Writes the sample pictures and the right answers; reports whether the checkpoint is right."""
    out, speaker, expected = Path(out), Speaker(folder), []
    out.mkdir(parents=True, exist_ok=True)
    for seed in PICTURES:
        scene, rng = sample_scene(SHOWN + seed), random.Random(seed)
        name = "-and-".join(thing.name.replace(" ", "-") for thing in scene.things) + ".png"
        picture = draw(scene, 256, oversample=4)
        picture.save(out / name, optimize=True)
        asked = dict(filter(None, (asker(scene, rng) for asker in (ask_what, ask_colour, ask_where, ask_count))))
        said = speaker([[picture]]) + speaker([question_prompt(picture, question) for question in asked])
        for truth, reply in zip([caption(scene), *asked.values()], said):
            print("right" if truth == reply else "WRONG", name, repr(truth), repr(reply))
        expected.append(dict(image=name, caption=caption(scene), questions=[dict(q=q, a=a) for q, a in asked.items()]))
    (out / "expected.json").write_text(json.dumps(expected, indent=2) + "\n")
