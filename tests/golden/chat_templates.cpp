// Chat templates against jinja2 as transformers sets it up: whole templates in the forms that
// checkpoints have, expressions one by one, and what each limit stops.
#include <ctime>
#include <fstream>

#include <idefics/io/json.hpp>
#include <idefics/text/chat_template.hpp>

#include "support/catch.hpp"
#include "support/counting_malloc.hpp"
#include "support/fault.hpp"

using namespace idefics;

namespace {

const OrderedJson& recorded() {
  static const OrderedJson data = [] {
    std::ifstream file(std::string(IDEFICS_GOLDEN_DIR) + "/chat_templates.json");
    return OrderedJson::parse(file);
  }();
  return data;
}

TemplateOptions at_recorded_time() {
  const OrderedJson& now = recorded()["now"];
  const auto part = [&now](std::size_t i) { return now[i].get<int>(); };
  std::tm time{};
  time.tm_year = part(0) - 1900, time.tm_mon = part(1) - 1, time.tm_mday = part(2);
  time.tm_hour = part(3), time.tm_min = part(4), time.tm_sec = part(5);
  time.tm_wday = (part(6) + 1) % 7, time.tm_yday = part(7) - 1;
  return {.now = time};
}

/// The rendered text, or the code of the error.
OrderedJson outcome(const std::string& source, OrderedJson variables, bool generation) {
  variables["add_generation_prompt"] = generation;
  for (const auto& [name, text] : {std::pair{"bos_token", "<s>"},
                                   {"eos_token", "</s>"},
                                   {"unk_token", "<unk>"},
                                   {"pad_token", "<unk>"}})
    variables[name] = text;
  try {
    return render_chat_template(source, variables, at_recorded_time());
  } catch (const Error& error) {
    CHECK(error.context().field == "chat_template");
    return {{"error", std::string(error.code_name())}};
  }
}

std::string repeated(std::size_t count, std::string_view text) {
  std::string all;
  for (std::size_t i = 0; i < count; ++i) all += text;
  return all;
}

}  // namespace

TEST_CASE("templates render the same texts as in transformers, and fail where they fail") {
  REQUIRE(recorded()["templates"].size() >= 60);
  for (const auto& [name, source] : recorded()["templates"].items()) {
    const OrderedJson& results = recorded()["texts"][name];
    REQUIRE(results.size() == 2 * recorded()["conversations"].size());
    for (std::size_t i = 0; i < results.size(); ++i) {
      INFO(name << ", conversation " << i / 2 << ", add_generation_prompt " << i % 2);
      CHECK(outcome(source.get<std::string>(), recorded()["conversations"][i / 2], i % 2 == 1) ==
            results[i]);
    }
  }
}

TEST_CASE("each construct of the language has the value that jinja2 gives it") {
  REQUIRE(recorded()["expressions"].size() > 600);
  for (const auto& [source, result] : recorded()["expressions"].items()) {
    INFO(source);
    CHECK(outcome(source, recorded()["conversations"][1], true) == result);
  }
}

TEST_CASE("templates that fuzzing found render what jinja2 renders, and fail where it fails") {
  const auto found = OrderedJson::parse(detail::read_text_file(
      std::filesystem::path(IDEFICS_GOLDEN_DIR) / "found_templates.json", 1 << 20));
  REQUIRE(found.size() > 350);
  for (const auto& [source, result] : found.items()) {
    INFO(source);
    CHECK(outcome(source, recorded()["conversations"][1], true) == result);
  }
}

TEST_CASE("what is not a template, and what is not supported, is refused by name") {
  for (const char* list : {"invalid", "unsupported"})
    for (const OrderedJson& source : recorded()[list]) {
      INFO(list << " " << source);
      CHECK(outcome(source.get<std::string>(), recorded()["conversations"][0], true) ==
            OrderedJson{{"error", "invalid_tokenizer"}});
    }
}

TEST_CASE("no template runs for long or needs much memory") {
  const std::string loop = "{% for a in s %}", end = "{% endfor %}", text(30, 'a');
  const std::pair<const char*, std::string> hostile[] = {
      {"five nested loops",
       "{% set s = '" + text + "' %}" + repeated(5, loop) + "x" + repeated(5, end)},
      {"a text that doubles",
       "{% set a = 'aaaaaaaaaaaaaaaa' %}" + repeated(40, "{% set a = a + a %}") + "{{ a }}"},
      {"a list that doubles", "{% set a = [1] %}" + repeated(40, "{% set a = a + a %}")},
      {"a tree that doubles",
       "{% set a = [1] %}" + repeated(40, "{% set a = [a, a] %}") + "{{ a }}"},
      {"a list nested in a loop",
       "{% set n = namespace(a=[]) %}{% for i in range(100000) %}"
       "{% set n.a = [n.a] %}{% endfor %}"},
      {"a list that grows in a loop",
       "{% set n = namespace(a=[]) %}{% for i in range(100000) %}"
       "{% set n.a = n.a + [i] %}{% endfor %}"},
      {"a macro without an end", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"},
      {"two macros without an end",
       "{% macro f(n) %}{{ g(n) }}{% endmacro %}{% macro g(n) %}"
       "{{ f(n + 1) }}{{ f(n + 1) }}{% endmacro %}{{ g(0) }}"},
      {"a repeated text", "{{ 'aaaaaaaa' * 99999999999 }}"},
      {"many repeated texts", "{% for i in range(90000) %}{{ 'a' * 1000000 }}{% endfor %}"},
      {"a replaced text", "{% set a = 'a' * 100000 %}{{ a.replace('', a) }}"},
      {"searches in a long text",
       "{% set a = 'a' * 1000000 %}{% for i in range(100000) %}"
       "{{ a.find('b') }}{% endfor %}"},
      {"a long join", "{% set a = 'a' * 100000 %}{{ a.join(range(1000) | map('string')) }}"},
      {"sorting again and again",
       "{% for i in range(1000) %}{{ range(100000) | sort | length }}"
       "{% endfor %}"},
      {"indented JSON", "{% set a = [[[[[[1]]]]]] %}{{ a | tojson(indent=99999999) }}"},
      {"many variables",
       repeated(6000, "{% set a = 1 %}{% for i in range(99) %}{{ a }}{% endfor %}")},
      {"open brackets", "{{ " + repeated(60000, "(")},
      {"open blocks", repeated(6000, "{% if true %}")},
      {"a chain of attributes", "{{ a" + repeated(60000, ".b") + " }}"},
      {"a chain of signs", "{{ " + repeated(60000, "-") + "1 }}"},
      {"a chain of negations", "{{ " + repeated(20000, "not ") + "1 }}"},
      {"a chain of sums", "{{ 1" + repeated(60000, "+1") + " }}"},
      {"a long template", std::string(1 << 20, 'a')},
  };
  for (const auto& [name, source] : hostile) {
    INFO(name);
    const heap::Peak peak;
    const std::clock_t begin = std::clock();
    CHECK(outcome(source, recorded()["conversations"][0], true) ==
          OrderedJson{{"error", "template_limit"}});
    CHECK(static_cast<double>(std::clock() - begin) < testing::seconds_allowed * CLOCKS_PER_SEC);
    CHECK(peak.bytes() < 64 << 20);
  }
}

TEST_CASE("limits are those that the caller sets") {
  const auto limited = [](const char* source, const TemplateLimits& limits) -> std::string {
    try {
      return render_chat_template(source, {{"messages", OrderedJson::array()}}, {.limits = limits});
    } catch (const Error& error) {
      CHECK(error.code() == ErrorCode::template_limit);
      CHECK(error.context().limit > 0);
      return error.what();
    }
  };
  CHECK(limited("{{ 'a' * 10 }}", {.output_bytes = 10}) == "aaaaaaaaaa");
  CHECK(limited("{{ 'a' * 11 }}", {.output_bytes = 10}).find("bytes of output") !=
        std::string::npos);
  CHECK(limited("{{ [[[[1]]]] }}", {.depth = 3}).find("levels of nesting") != std::string::npos);
  CHECK(limited("{{ 1 + 1 }}", {.steps = 2}).find("steps") != std::string::npos);
  CHECK(limited("{{ 'aaaaaaaa' }}", {.memory = 8}).find("bytes of memory") != std::string::npos);
  CHECK(limited("\n\n{{ 1 }}", {.source_bytes = 5}).find("bytes of source") != std::string::npos);
}

TEST_CASE("messages name the line") {
  for (const char* source : {"a\n\n{{ 1 + 'a' }}", "a\n{# b\n#}{{ nothing.a }}", "\n\n{{ 1 2 }}",
                             "\n\n{% call f() %}{% endcall %}"})
    try {
      render_chat_template(source, OrderedJson::object());
      FAIL("accepted: " << source);
    } catch (const Error& error) {
      CHECK(std::string(error.what()).find("at line 3: ") != std::string::npos);
    }
}
