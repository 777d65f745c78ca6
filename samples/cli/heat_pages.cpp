// Contact sheets in SVG, and pages in HTML. Both contain their pictures and need no other file.
#include <idefics/io/json.hpp>

#include "cli/heat.hpp"

namespace cli {

using namespace idefics;

namespace {

/// Text between tags or in a quoted attribute.
std::string quoted(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      default: out += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
    }
  }
  return out;
}

/// name="value" for each number.
std::string attributes(std::initializer_list<std::pair<const char*, std::int64_t>> values) {
  std::string text;
  for (const auto& [name, value] : values)
    text += std::string(" ") + name + "=\"" + std::to_string(value) + "\"";
  return text;
}

std::string svg_tile(const AttendedWords& all, const SheetLayout& layout, std::size_t word,
                     std::size_t picture) {
  const auto [x, y] = layout.tile_at(word, picture);
  const Canvas& tile = layout.tiles[picture];
  const std::string name =
      all.pictures.size() > 1 ? ", picture " + std::to_string(picture + 1) : "";
  return "<g><title>" + quoted(all.words[word].text) + name + ": " +
         summary(look_of(all, word, picture)) + "</title>\n<use href=\"#p" +
         std::to_string(picture) + "\"" + attributes({{"x", x}, {"y", y}}) + "/>\n<image" +
         attributes({{"x", x}, {"y", y}, {"width", tile.width}, {"height", tile.height}}) +
         " preserveAspectRatio=\"none\" class=\"tint\" href=\"" +
         png_url(tint_of(all, word, picture)) + "\"/></g>\n";
}

constexpr const char* page_style = R"(<style>
:root { color-scheme: light dark; font: 1.05rem/1.5 system-ui, sans-serif; }
body { margin: 2rem auto; max-width: 60rem; padding: 0 1rem; }
button { background: none; border: 2px solid transparent; border-radius: .4rem; color: inherit;
  cursor: pointer; font: inherit; padding: .1rem .3rem; }
button[aria-pressed=true] { background: #cd286e; color: #fff; }
button:focus-visible { border-color: currentcolor; outline: none; }
#pictures { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { flex: 1 1 16rem; margin: 0; max-width: 30rem; }
.frame { position: relative; }
img { display: block; width: 100%; }
.tint { height: 100%; image-rendering: pixelated; inset: 0; position: absolute; }
#status { clip-path: inset(50%); height: 1px; overflow: hidden; position: absolute; width: 1px; }
.scale { background: linear-gradient(90deg, #18145a, #cd286e, #ffe13c); display: inline-block;
  height: .8rem; width: 8rem; }
</style>
)";

constexpr const char* page_script = R"(
const buttons = [...document.querySelectorAll("#words button")];
const tints = [...document.querySelectorAll(".tint")];
const captions = [...document.querySelectorAll("figcaption span")];
function show(word) {
  buttons.forEach((button, i) => button.setAttribute("aria-pressed", i === word));
  looks[word].forEach((look, i) => { tints[i].src = look.tint; captions[i].textContent = look.text; });
  document.getElementById("status").textContent = buttons[word].textContent + ": " +
    looks[word].map((look, i) => (looks[word].length > 1 ? "picture " + (i + 1) + " " : "") + look.text).join("; ");
}
buttons.forEach((button, i) => {
  for (const event of ["mouseenter", "focus", "click"]) button.addEventListener(event, () => show(i));
  button.addEventListener("keydown", (event) => {
    const to = { ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: buttons.length - 1 }[event.key];
    if (buttons[to]) { buttons[to].focus(); event.preventDefault(); }
  });
});
if (buttons.length) show(0);
)";

}  // namespace

std::string heat_svg(const AttendedWords& all) {
  const SheetLayout layout(all);
  std::string text = "<svg xmlns=\"http://www.w3.org/2000/svg\"" +
                     attributes({{"width", layout.width}, {"height", layout.height}}) +
                     " role=\"img\">\n<title>What each word looked at</title>\n<style>\n"
                     "text { fill: #222; font: 600 17px system-ui, sans-serif; }\n"
                     ".tint { image-rendering: pixelated; }\n"
                     "@media (prefers-color-scheme: dark) { svg { background: #181818; } "
                     "text { fill: #eee; } }\n</style>\n<defs>\n";
  for (std::size_t i = 0; i < layout.tiles.size(); ++i)
    text += "<image id=\"p" + std::to_string(i) + "\"" +
            attributes({{"width", layout.tiles[i].width}, {"height", layout.tiles[i].height}}) +
            " href=\"" + png_url(layout.tiles[i]) + "\"/>\n";
  text += "</defs>\n";
  for (std::size_t word = 0; word < all.words.size(); ++word) {
    const auto [x, y] = layout.label_at(word);
    // an inner picture cuts off what is wider than the tile
    text +=
        "<svg" +
        attributes({{"x", x}, {"y", y}, {"width", layout.tile_width}, {"height", layout.label}}) +
        "><text y=\"16\">" + quoted(all.words[word].text) + "</text></svg>\n";
    for (std::size_t i = 0; i < all.pictures.size(); ++i) text += svg_tile(all, layout, word, i);
  }
  return text + "</svg>\n";
}

std::string heat_html(const AttendedWords& all) {
  std::string text =
      "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<title>What each word looked at</title>\n" +
      std::string(page_style) +
      "<h1>What each word looked at</h1>\n"
      "<p id=\"words\" role=\"group\" aria-label=\"Words of the answer\">\n";
  for (const WordSpan& word : all.words)
    text += "<button type=\"button\">" + quoted(word.text) + "</button>\n";
  text +=
      "</p>\n<p>Point at a word, or choose one with Tab and the arrow keys. From its least to its "
      "most attention to a patch: <span class=\"scale\"></span></p>\n"
      "<p id=\"status\" role=\"status\"></p>\n<div id=\"pictures\">\n";
  for (std::size_t i = 0; i < all.pictures.size(); ++i)
    text += "<figure><div class=\"frame\"><img alt=\"Picture " + std::to_string(i + 1) +
            "\" src=\"" + png_url(tile_of(all.pictures[i])) +
            "\"><img class=\"tint\" alt=\"\"></div><figcaption>Picture " + std::to_string(i + 1) +
            ": <span></span></figcaption></figure>\n";
  Json looks = Json::array();
  for (std::size_t word = 0; word < all.words.size(); ++word) {
    Json of_word = Json::array();
    for (std::size_t i = 0; i < all.pictures.size(); ++i)
      of_word.push_back(
          {{"tint", png_url(tint_of(all, word, i))}, {"text", summary(look_of(all, word, i))}});
    looks.push_back(std::move(of_word));
  }
  return text + "</div>\n<script>\nconst looks = " + looks.dump() + ";" + page_script +
         "</script>\n</html>\n";
}

}  // namespace cli
