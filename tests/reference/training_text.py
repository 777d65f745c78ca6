"""The text that the small tokenizer is trained on, composed from word lists and a seed."""

from common import SplitMix64

NOUNS = """cat dog horse bird fish cow sheep rabbit tree flower garden river mountain lake sea beach sky cloud sun moon star
house door window roof kitchen table chair bed lamp book page letter word picture image photo frame camera painting colour
circle square triangle line corner edge middle top bottom left right man woman child boy girl friend king farmer teacher
doctor baker sailor driver train car bicycle boat ship bridge road street city village school shop market bread apple pear
orange lemon cheese milk water coffee tea sugar salt plate cup glass bottle knife fork spoon coat shoe hat glove ring clock
bell key box bag ball game song music story question answer description caption assistant user""".split()
ADJECTIVES = """red green blue yellow white black grey brown pink purple small large big little old new young long short round
flat bright dark warm cold wet dry soft hard quiet loud quick slow happy sad wooden golden empty full open closed""".split()
VERBS = """shows holds sees eats drinks reads writes draws paints watches follows carries opens closes finds loses likes
stands sits sleeps runs walks jumps swims flies waits looks works plays sings""".split()
PLACES = "in on under above behind near beside inside outside between against across".split()

OTHER_SCRIPTS = """Ein kleiner Vogel sitzt auf dem großen Baum und singt für die Kinder über die schöne Straße.
Une petite fille mange une pomme près de la fenêtre, où le garçon dort déjà; ça va très bien, naïve forêt.
El niño pequeño mira la montaña y la niña bebe agua fría; ¿dónde está el perro? ¡Mañana!
Маленькая собака бежит по дороге, а большая кошка сидит у окна и смотрит на птицу.
Ένα μικρό σκυλί τρέχει στο δρόμο και μια γάτα κοιτάζει τη θάλασσα.
一只小猫坐在桌子上看着窗外的大树。天空是蓝色的,云是白色的。
小さな犬が道を走り、猫は窓のそばで鳥を見ている。空は青い。
작은 개가 길을 달리고 고양이는 창가에서 새를 본다.
كلب صغير يجري في الطريق وقطة تنظر إلى الطائر.
כלב קטן רץ ברחוב וחתול יושב ליד החלון.
एक छोटा कुत्ता सड़क पर दौड़ता है और बिल्ली पेड़ देखती है।
สุนัขตัวเล็กวิ่งบนถนน และแมวมองนก
Żółta łódź płynie po jeziorze; příliš žluťoučký kůň; büyük şehir ığdır; ångström Øresund æble.""".split("\n")

CODE = """def area(width, height):
    if width < 0 or height < 0:
        raise ValueError("negative")
    return width * height

for (int i = 0; i < 10; ++i) {
        total += values[i] * 2;
                }
{"name": "cat", "size": [3, 4], "url": "http://example.org/a_b.png?x=1&y=2#top"}
        <p class="note">A &amp; B</p>
	tab	separated	values	1	2	3
~`!@#$%^&*()-_=+[]{}\\|;:'",<.>/?""".split("\n")


def noun_phrase(random):
    article = random.pick(["the", "a", "the", "a", "this", "one", "two"])
    adjective = [random.pick(ADJECTIVES)] if random.below(2) else []
    noun = random.pick(NOUNS) + ("s" if article == "two" else "")
    return " ".join([article, *adjective, noun])


def sentence(random):
    first = noun_phrase(random)
    rest = f"{random.pick(VERBS)} {noun_phrase(random)} {random.pick(PLACES)} {noun_phrase(random)}"
    return first[0].upper() + first[1:] + " " + rest + random.pick([".", ".", ".", "!", "?", ","])


def dialogue(random):
    question = random.pick(["What is in the picture?", "Describe this image.", "What colour is it?", "How many are there?"])
    number = random.below(10 ** (1 + random.below(6)))
    return f"User: {question} {number}\nAssistant: {sentence(random)}"


def training_lines(seed, count):
    """`count` lines: mostly English, some dialogue, code with its indentation, other scripts."""
    random = SplitMix64(seed)
    for _ in range(count):
        kind = random.below(20)
        if kind < 12:
            yield sentence(random) + " " + sentence(random)
        elif kind < 15:
            yield from dialogue(random).split("\n")
        elif kind < 18:
            yield random.pick(CODE)
        elif kind < 19:
            yield " " * random.below(24) + sentence(random)
        else:
            yield random.pick(OTHER_SCRIPTS)
