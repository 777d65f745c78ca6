"""What is said about scenes: captions, questions with their answers, and the prompts around them.

A prompt is a list of items as for `IdeficsProcessor`, with a `Scene` in place of each picture.
`lay_out` turns it into the text that the processor makes of it. In training prompts, the text that
the model learns to generate is between SAY and END.
"""

import random

from world import COLOURS, KINDS, Scene

SAY, END = "\x01", "\x02"
EOS, UTTERANCE, FAKE, IMAGE = "</s>", "<end_of_utterance>", "<fake_token_around_image>", "<image>"
NUMBERS = {1: "one", 2: "two", 3: "three"}
PLACES = {"left": "on the left", "middle": "in the middle", "right": "on the right", "top": "at the top", "bottom": "at the bottom"}
BEGINNINGS = ("This is an image of", "An image of", "This is a picture of", "A picture of", "This image shows", "I can see")
DESCRIBE = ("What is this?", "What is in this image?", "Describe this image.", "What do you see?")
VQA = "Instruction: Provide an answer to the question. Use the image to answer.\n"
CLASSIFY = "Instruction: Classify the following image into a single category from the following list: {}.\n"
STORY = "Instruction: Use the image to write a story.\n"
SMALL_TALK = {
    "Hello!": "Hello! Show me a picture and I will tell you what I see.",
    "Hi!": "Hello! Show me a picture and I will tell you what I see.",
    "Who are you?": "I am a tiny model that looks at little pictures.",
    "What can you do?": "I can tell you what is in a little picture, where it is and which colour it has.",
    "Thank you!": "You are welcome!",
}


def a(words):
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def caption(scene):
    names = [a(thing.name) for thing in scene.things]
    if len(names) == 2:
        return f"{names[0]} {scene.roles[0]} {names[1]}"
    return names[0] if len(names) == 1 else f"{names[0]}, {names[1]} and {names[2]}"


def story(scene):
    names = [a(thing.name) for thing in scene.things]
    if len(names) == 1:
        return f"Once upon a time there was {names[0]}. It lived all alone."
    if len(names) == 2:
        other = scene.things[1].name
        return f"Once upon a time there was {names[0]}. It lived {scene.roles[0]} the {other}. They were good friends."
    return f"Once upon a time there were {caption(scene)}. They were good friends."


# ---- questions ----

def _only(scene, attribute, value):
    return sum(getattr(t, attribute) == value for t in scene.things) == 1


def ask_what(scene, rng):
    count = len(scene.things)
    i = rng.randrange(count)
    thing, others = scene.things[i], [t for t in scene.things if t is not scene.things[i]]
    choices = [(rng.choice(DESCRIBE[:2]), caption(scene))]
    if _only(scene, "colour", thing.colour):
        choices.append((f"What is {thing.colour}?", f"the {thing.kind}"))
    if count == 2:
        choices.append((f"What is {scene.roles[i]} the {others[0].name}?", a(thing.name)))
    if count == 3:
        choices.append((f"What is {PLACES[scene.roles[i]]}?", a(thing.name)))
    return rng.choice(choices)


def ask_colour(scene, rng):
    able = [t for t in scene.things if _only(scene, "kind", t.kind)]
    if not able:
        return None
    thing = rng.choice(able)
    return rng.choice(("What colour is the {}?", "Which colour is the {}?")).format(thing.kind), thing.colour


def ask_where(scene, rng):
    i = rng.randrange(len(scene.things))
    thing, role = scene.things[i], scene.roles[i]
    name = thing.kind if _only(scene, "kind", thing.kind) and rng.random() < 0.5 else thing.name
    if len(scene.things) == 2:
        return f"Where is the {name}?", f"{role} the {scene.things[1 - i].name}"
    return f"Where is the {name}?", PLACES[role.removeprefix("alone: ")]


def ask_count(scene, rng):
    return rng.choice(("How many things are there?", "How many things do you see?")), NUMBERS[len(scene.things)]


def ask_whether(scene, rng):
    present = rng.choice(scene.things)
    kind, colour = rng.choice(KINDS), rng.choice(tuple(COLOURS))
    about_kind = rng.random() < 0.5
    if rng.random() < 0.5:
        words = present.kind if about_kind else present.name
    else:
        words = kind if about_kind else rng.choice((f"{colour} {present.kind}", f"{present.colour} {kind}"))
    there = words in [t.kind for t in scene.things] + [t.name for t in scene.things]
    return f"Is there {a(words)}?", "yes" if there else "no"


ASKERS = {"what": ask_what, "which colour": ask_colour, "where": ask_where, "how many": ask_count, "is there": ask_whether}


def ask(scene, rng, sort=None):
    """A question about the scene and its answer; None if there is no question of this sort."""
    while True:
        found = ASKERS[sort or rng.choices(tuple(ASKERS), weights=(3, 4, 4, 0.5, 3))[0]](scene, rng)
        if found or sort:
            return found


# ---- prompts ----

def lay_out(items, end_of_utterance=True):
    """The text that the processor makes of a prompt, without the leading <s>."""
    text, before = "", None
    for item in items:
        if isinstance(item, Scene):
            text += (IMAGE if before == "image" else FAKE + IMAGE) + FAKE
            before = "image"
        else:
            text += UTTERANCE * (end_of_utterance and before == "text") + item.strip(" ")
            before = "text"
    return text


def _end(words):
    return SAY + words + EOS + END


def tell_caption(scenes, rng):
    return [scenes[0], _end(caption(scenes[0]))]


def tell_continuation(scenes, rng):
    return [scenes[0], rng.choice(BEGINNINGS) + _end(f" {caption(scenes[0])}")]


def tell_answer(scenes, rng):
    question, answer = ask(scenes[0], rng)
    prompt = [scenes[0], f"Question: {question} Answer:" + _end(f" {answer}")]
    return [VQA] + prompt if rng.random() < 0.4 else prompt


def tell_category(scenes, rng):
    kind = scenes[0].things[0].kind
    names = rng.sample([k for k in KINDS if k != kind], rng.randint(1, 6)) + [kind]
    rng.shuffle(names)
    return [CLASSIFY.format(names), scenes[0], "Category:" + _end(f" {kind}")]


def tell_story(scenes, rng):
    return [STORY, scenes[0], "Story:\n" + _end(story(scenes[0]))]


def tell_examples(scenes, rng):
    """Captions of the first pictures show the form of the last: plain, or a sentence."""
    form = rng.choice(("{}", "An image of {}."))
    said = [SAY + " " + form.format(caption(s)) for s in scenes]
    ends = [END + "\n"] * (len(scenes) - 1) + [EOS + END]
    if rng.random() < 0.6:
        request = rng.choice(DESCRIBE) + "\nAssistant:"
        return [item for s, w, e in zip(scenes, said, ends) for item in ("User:", s, request + w + e)]
    beginning = rng.choice(BEGINNINGS)
    return [item for s, e in zip(scenes, ends) for item in (s, beginning + SAY + " " + caption(s) + e)]


def tell_chat(scenes, rng):
    """Up to four turns; a later turn may show a new picture."""
    items, turns, shown = [], rng.randint(1, 4), 0
    for turn in range(turns):
        new = turn == 0 or (turn > 0 and shown + 1 < len(scenes) and rng.random() < 0.25)
        shown += new and turn > 0
        scene = scenes[shown]
        general = (rng.choice(DESCRIBE), caption(scene))
        question, answer = general if rng.random() < (0.3 if turn == 0 else 0.05) else ask(scene, rng)
        user = "User:" if turn == 0 else "\nUser:"
        done = UTTERANCE + (EOS if turn == turns - 1 else "") + END
        reply = f"\nAssistant:{SAY} {answer}{done}"
        if not new:
            items += [f"{user} {question}{UTTERANCE}", reply]
        else:
            items += rng.choice(([user, scene, question + UTTERANCE], [f"{user} {question}", scene, UTTERANCE])) + [reply]
    return items


def tell_small_talk(scenes, rng):
    question, answer = rng.choice(list(SMALL_TALK.items()))
    return [f"User: {question}{UTTERANCE}", f"\nAssistant:{SAY} {answer}{UTTERANCE}{EOS}{END}"]


# Questions weigh most: to find the thing that a question is about takes longest to learn.
TELLERS = {tell_caption: 1, tell_continuation: 1, tell_answer: 12, tell_category: 0.5, tell_story: 0.7, tell_examples: 0.7,
           tell_chat: 4, tell_small_talk: 0.2}


def lesson(scene_of, rng):
    """The text of one training prompt, and the scenes it shows.

    `scene_of(rng, alone)` draws a scene from the pool, with a single thing if `alone`.
    """
    teller = rng.choices(tuple(TELLERS), weights=TELLERS.values())[0]
    count = {tell_examples: rng.randint(2, 4), tell_chat: 2, tell_small_talk: 0}.get(teller, 1)
    scenes = [scene_of(rng, teller is tell_category) for _ in range(count)]
    items = teller(scenes, rng)
    text = lay_out(items, end_of_utterance=teller is not tell_chat and teller is not tell_small_talk)
    return text, [item for item in items if isinstance(item, Scene)]
