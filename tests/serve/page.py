"""The web page in a headless Chromium: a picture, a question, the streamed answer, where a word looked.
usage: page.py EXECUTABLE SAMPLES CHROMIUM [DIRECTORY FOR SCREENSHOTS]"""
import base64
import sys
from pathlib import Path

from browser import Browser
from server import SAMPLES, Server, check, command, finish

BOAT = SAMPLES / "pictures" / "pink-boat.png"
QUESTION = "What is this?"
CHROMIUM = sys.argv[3]
PLACE = Path(sys.argv[4]) if len(sys.argv) > 4 else None
SCROLLS = "document.documentElement.scrollWidth > innerWidth"
DONE = "running === null && document.getElementById('stop').disabled"
ENTER = ("Enter", "\r", 13)


def picture_of(browser: Browser, name: str) -> None:
    if PLACE:
        browser.screenshot(str(PLACE / f"{name}.png"))


def choose(browser: Browser, mode: str) -> None:
    browser.value(f"document.querySelector('[name=mode][value={mode}]').click()")


def drop(browser: Browser, path: Path) -> None:
    data = base64.b64encode(path.read_bytes()).decode()
    browser.value(f"""(() => {{ const bytes = Uint8Array.from(atob("{data}"), (c) => c.charCodeAt(0));
        const dropped = new DataTransfer();
        dropped.items.add(new File([bytes], "{path.name}", {{type: "image/png"}}));
        document.getElementById("drop").dispatchEvent(
            new DragEvent("drop", {{dataTransfer: dropped, bubbles: true, cancelable: true}})); }})()""")


def ask_and_look(browser: Browser) -> None:
    drop(browser, BOAT)
    check(browser.wait("document.querySelector('#pictures img')?.naturalWidth > 0"), "the dropped picture is not shown")
    check(browser.value("document.querySelector('#pictures img').alt") == BOAT.name, "the picture has no text")
    browser.value("document.getElementById('question').focus()")
    browser.press(*ENTER)  # the keyboard alone
    wanted = command("chat", str(BOAT), stdin=QUESTION + "\n").strip()
    check(browser.wait(f"{DONE} && document.getElementById('answer').textContent !== ''"), "no answer came")
    found = browser.value("document.getElementById('answer').textContent")
    check(found.strip() == wanted != "", f"'{found}' instead of '{wanted}'")
    check(browser.value("document.getElementById('spoken').textContent").strip() == wanted, "the answer was not spoken")
    picture_of(browser, "asked")
    browser.value("document.getElementById('look').click()")
    check(browser.wait("document.querySelectorAll('.word').length > 0"), "no word can be chosen")
    check(browser.value("document.getElementById('answer').textContent") == found, "looking changed the answer")
    heat = """(() => { const canvas = document.querySelector('#looks canvas');
        return [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data].join(); })()"""
    first = browser.value(heat)
    check(len(set(first.split(","))) > 8, "no heat is drawn")
    browser.press("ArrowRight", code=39)
    check(browser.value("document.activeElement === document.querySelectorAll('.word')[1]"), "the arrow keys choose no word")
    check(browser.value(heat) != first, "another word has the same heat")
    browser.point_at(".word")
    check(browser.value(heat) == first, "the mouse does not choose a word")


def table_and_labels(browser: Browser) -> None:
    browser.choose_files("#files", SAMPLES / "pictures" / "blue-cat-and-pink-fish.png")
    check(browser.wait("document.querySelectorAll('#pictures img').length === 2"), "the second picture is missing")
    choose(browser, "table")
    browser.value("send()")
    check(browser.wait(DONE), "the table does not end")
    rows = browser.value("resultText()").splitlines()
    wanted = command("chat", str(BOAT), stdin=QUESTION + "\n").strip()
    check(rows[:2] == ['"file","answer"', f'"{BOAT.name}","{wanted}"'] and len(rows) == 3, f"the table is {rows}")
    picture_of(browser, "table")
    choose(browser, "classify")
    browser.value("send()")
    check(browser.wait(DONE), "classification does not end")
    check(browser.value("document.querySelector('.best').textContent").startswith("boat"), "the boat is none")
    picture_of(browser, "labels")
    choose(browser, "ask")


def errors(browser: Browser) -> None:
    browser.value("document.querySelector('#settings input').value = '-1'")
    browser.value("send()")
    browser.wait(DONE)
    shown = browser.value("document.getElementById('error').hidden ? '' : document.getElementById('error').textContent")
    check("max_new_tokens" in shown, f"the error is shown as '{shown}'")
    browser.complaints = [text for text in browser.complaints if "status of 400" not in text]
    browser.value("document.querySelector('#settings input').value = ''")


def run(browser: Browser, server: Server) -> None:
    browser.resize(1280, 800)
    browser.open(f"http://127.0.0.1:{server.port}/")
    check(browser.wait("document.getElementById('model').textContent === 'tiny'"), "the model is not named")
    ask_and_look(browser)
    picture_of(browser, "light")
    browser.dark(True)
    picture_of(browser, "dark")
    browser.dark(False)
    browser.value("for (const part of document.querySelectorAll('details')) part.open = true")
    for language in ("curl", "Python", "C++"):
        browser.value(f"document.getElementById('language').value = '{language}'; showCode()")
        check(BOAT.name in browser.value("document.getElementById('source').textContent"), f"no code in {language}")
    browser.resize(360, 740, 2)
    check(not browser.value(SCROLLS), "the page scrolls sideways at 360 pixels")
    picture_of(browser, "phone")
    table_and_labels(browser)
    check(not browser.value(SCROLLS), "bars scroll sideways at 360 pixels")
    errors(browser)
    check(browser.complaints == [], f"the console has {browser.complaints}")


with Server() as server, Browser(CHROMIUM) as browser:
    run(browser, server)
finish("the page asks, streams, shows where words looked, fills a table, and fits on a phone")
