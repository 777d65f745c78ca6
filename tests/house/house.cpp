// The rules of the house: each is checked on the repository, and shown to notice a planted fault.
#include "house/api.hpp"
#include "house/includes.hpp"
#include "house/letters.hpp"
#include "house/manners.hpp"
#include "house/pages.hpp"
#include "house/sizes.hpp"
#include "house/stems.hpp"
#include "house/words.hpp"
#include "support/catch.hpp"

using namespace house;

namespace {

const Tree& repository() {
  static const Tree tree = Tree::from_disk(IDEFICS_SOURCE_DIR);
  return tree;
}

std::string repeated(const std::string& line, std::size_t times) {
  std::string text;
  while (times-- > 0) text += line;
  return text;
}

std::string header(const std::string& path) { return "include/idefics/" + path; }

const std::string architecture =
    "| `include/idefics/core/` | errors | nothing |\n"
    "| `include/idefics/text/` | words | core |\n"
    "| `include/idefics/model/` | the model | core |\n"
    "| `include/idefics/model/run/` | its passes | core, model |\n";

}  // namespace

TEST_CASE("includes: each folder includes only what docs/architecture.md allows", "[includes]") {
  CHECK(include_direction(repository()) == Faults{});

  const auto verdict = [](const std::string& path, const std::string& text) {
    return include_direction(Tree{{"docs/architecture.md", architecture}, {header(path), text}});
  };
  CHECK(verdict("model/a.hpp", "#include <vector>\n#include <idefics/core/error.hpp>\n") ==
        Faults{});
  CHECK(verdict("core/a.hpp", "\n#include <idefics/model/b.hpp>\n") ==
        Faults{header("core/a.hpp:2: core may not include idefics/model/b.hpp")});
  CHECK(verdict("text/a.hpp", "#include <idefics/model/b.hpp>\n").size() == 1);
  CHECK(verdict("text/a.hpp", "#include \"tests/support/catch.hpp\"\n").size() == 1);
  CHECK(verdict("text/a.hpp", "#include <CLI/CLI.hpp>\n").size() == 1);
  CHECK(verdict("text/a.hpp", "#include <nlohmann/json.hpp>\n").size() == 1);
  CHECK(verdict("new/a.hpp", "").size() == 1);
  CHECK(verdict("model/run/a.hpp", "#include <idefics/model/b.hpp>\n") == Faults{});
  CHECK(verdict("model/a.hpp", "#include <idefics/model/run/b.hpp>\n") ==
        Faults{header("model/a.hpp:1: model may not include idefics/model/run/b.hpp")});
}

TEST_CASE("api: docs/api.md names what headers define, and nothing else", "[api]") {
  CHECK(unlisted_api(repository()) == Faults{});

  const auto verdict = [](const std::string& page) {
    const std::string declarations = R"text(
#define OPEN {
namespace idefics { inline namespace v0 {
class Later;
struct [[nodiscard]] Part {
  void member() { helper(1); }
};
enum class Kind : int { one, two };
using Callback = std::function<bool(int)>;
inline constexpr int limit = 3;
template <class T, int n = 4>
std::vector<T> made(const Part& part = {}, T value = {});
[[noreturn]] inline void refuse(Kind kind) { throw kind; }
inline bool operator==(const Part&, const Part&) { return true; }
inline Part::Part(int x) : a{x}, b(x) {}
namespace detail { inline void hidden() {} }
}}  // namespace idefics::v0
)text";
    return unlisted_api(Tree{{header("core/a.hpp"), declarations}, {"docs/api.md", page}});
  };
  std::string page = "| name | header |\n";
  for (const std::string name : {"Part", "Kind", "Callback", "limit", "made", "refuse"})
    page += "| `" + name + "` | `core/a.hpp` | something |\n";
  CHECK(verdict(page) == Faults{});
  CHECK(verdict(page + "| `Later` | `core/a.hpp` | gone |\n") ==
        Faults{"docs/api.md: include/idefics/core/a.hpp has no Later"});
  CHECK(verdict(page + "| `Part` | `core/b.hpp` | moved |\n") ==
        Faults{"docs/api.md: include/idefics/core/b.hpp does not exist"});
  page.erase(page.find("| `made`"), page.find("| `refuse`") - page.find("| `made`"));
  CHECK(verdict(page) == Faults{header("core/a.hpp: docs/api.md lacks made")});
}

TEST_CASE("sizes: files and functions stay short", "[sizes]") {
  CHECK(file_sizes(repository()) == Faults{});
  CHECK(function_sizes(repository()) == Faults{});

  CHECK(file_sizes(Tree{{"bench/a.cpp", repeated("\n", 400)}}) == Faults{});
  CHECK(file_sizes(Tree{{"bench/a.cpp", repeated("\n", 401)}}) == Faults{"bench/a.cpp: 401 lines"});

  const auto function = [](std::size_t lines) {
    return "void f(int x) {\n" + repeated("  if (x) { g('}'); }  // {\n", lines - 2) + "}\n";
  };
  // above 80 lines, and more than a tenth of all functions above 40
  CHECK(function_sizes(Tree{{"a.cpp", "namespace n {\n" + function(81) + "}\n"}}) ==
        Faults{"a.cpp:2: f has 81 lines", "a.cpp:2: f has 81 lines"});
  CHECK(function_sizes(Tree{{"a.cpp", function(41) + repeated(function(2), 9)}}) == Faults{});
  CHECK(function_sizes(Tree{{"a.cpp", function(41) + repeated(function(2), 8)}}).size() == 1);
}

TEST_CASE("functions are found in C++ code of this project", "[sizes]") {
  const auto functions = functions_of(R"text(
#define TWICE(x) { \
  x; x; }
struct [[nodiscard]] Pair {
  int a[2] = {1, 2};
 public:
  Pair(int x, int y)
      : a{x, y}, text(R"(})") {
    auto swap = [&] { std::swap(a[0], a[1]); };
  }
  int sum() const { return a[0] + 1'000; }  // one line
};
enum class Colour { red };
)text");
  REQUIRE(functions.size() == 2);
  CHECK(functions[0].name == "Pair");
  CHECK(functions[0].line == 7);
  CHECK(functions[0].lines == 4);
  CHECK(functions[1].name == "sum");
  CHECK(functions[1].lines == 1);
}

TEST_CASE("cost: a stranger can read the model in one sitting", "[cost]") {
  CHECK(reading_costs(repository()) == Faults{});

  const std::string page = header("model/idefics.hpp"), kernel = header("backend/cpu/norm.inl");
  const std::string both = "#include <idefics/core/a.hpp>\n#include \"b.hpp\"\n";
  const auto cost = [&](const std::string& path, std::size_t a, std::size_t b) {
    return reading_costs(
        Tree{{path, both},
             {header("core/a.hpp"), "#include <idefics/core/a.hpp>\n" + repeated("\n", a - 1)},
             {path.substr(0, path.rfind('/')) + "/b.hpp", repeated("\n", b)}});
  };
  CHECK(cost(page, 4000, 998) == Faults{});
  CHECK(cost(page, 4001, 998) == Faults{page + ": 5001 lines to read, the budget is 5000"});
  CHECK(cost(page, 100, 1999).size() == 1);  // above the budget of the folder
  CHECK(cost(kernel, 1500, 998) == Faults{});
  CHECK(cost(kernel, 1500, 999).size() == 1);
  CHECK(reading_costs(Tree{{"cuda/a.cuh", "__global__" + repeated("\n", 2500)}}) == Faults{});
  CHECK(reading_costs(Tree{{"cuda/a.cuh", "__global__" + repeated("\n", 2501)}}).size() == 1);
  CHECK(reading_costs(Tree{{"cuda/b.cuh", repeated("\n", 2501)}}) == Faults{});  // without a kernel
}

TEST_CASE("stems: an operation has one name everywhere", "[stems]") {
  REQUIRE(operations_of(repository()).size() >= 13);
  CHECK(stems(repository()) == Faults{});

  const Tree::Texts whole{
      {header("backend/backend.hpp"), "virtual void do_rms_norm(Tensor out) = 0;\n"},
      {header("backend/reference/norm.hpp"), "void rms_norm();\n"},
      {header("backend/cpu/norm.inl"), ""},
      {"tests/parity/norm.cpp", "rms_norm"},
      {"bench/norm.cpp", ""},
      {"docs/kernels/norm.md", "# norm: rms_norm\n"}};
  const auto verdict = [](const Tree::Texts& texts) { return stems(Tree(texts)); };
  CHECK(verdict(whole) == Faults{});
  for (const auto& [path, text] : whole) {
    auto part = whole;
    part.erase(path);
    INFO("without " << path);
    CHECK((verdict(part).empty() == (path == header("backend/backend.hpp"))));
  }
  auto other = whole;
  other["tests/parity/norm.cpp"] = "layer_norm";
  CHECK(verdict(other) == Faults{"tests/parity/norm.cpp: says nothing of rms_norm"});
  other = whole;
  other["cuda/cuda_backend.cu"] = "";
  CHECK(verdict(other) == Faults{"cuda/norm*.cuh: not there, and docs/kernels has its page"});
}

TEST_CASE("manners: the library neither prints nor ends the program", "[manners]") {
  CHECK(library_manners(repository()) == Faults{});

  const auto verdict = [](const std::string& code) {
    return library_manners(
        Tree{{header("core/a.hpp"), code}, {"samples/a.cpp", "std::cout << 1;"}});
  };
  CHECK(verdict("int exit = 1; // printf() and \"\nstatic_assert(true); char c = '\"'; "
                "f(\"abort()\");\n") == Faults{});
  CHECK(verdict("\nstd::cerr << 1;\n") == Faults{header("core/a.hpp:2: cerr")});
  for (const std::string code : {"std::printf(\"\");", "std::abort();", "exit(1);", "assert(x);",
                                 "std::stoi(text);", "std::atoi(text);", "#include <iostream>"}) {
    INFO(code);
    CHECK(verdict(code).size() == 1);
  }
}

TEST_CASE("tolerances: parity tests have none of their own", "[tolerances]") {
  CHECK(literal_tolerances(repository()) == Faults{});

  const auto verdict = [](const std::string& code) {
    return literal_tolerances(Tree{{"tests/parity/a.cpp", code}, {"tests/unit/a.cpp", "x < 1e-5"}});
  };
  CHECK(verdict("x > 0.0f && x < 16 && f(1e-5f) <= tolerance(k); // < 1e-5\n") == Faults{});
  CHECK(verdict("\n  CHECK(x <= 1e-5f);\n") == Faults{"tests/parity/a.cpp:2: CHECK(x <= 1e-5f);"});
  CHECK(verdict("CHECK(x == Approx(1));").size() == 1);
}

TEST_CASE("pages: the files that they name exist", "[pages]") {
  CHECK(dead_paths(repository()) == Faults{});

  const auto verdict = [](const std::string& page) {
    return dead_paths(Tree{{"docs/a.md", page}, {"tests/b.cpp", ""}});
  };
  CHECK(verdict("[b](../tests/b.cpp#x), [w](https://example.org/docs/x), `tests/`, tests/b.cpp.") ==
        Faults{});
  CHECK(verdict("`tests/*.cpp`, tests/<stem>.cpp, build/tests/x") == Faults{});
  CHECK(verdict("```\n[this](int x)\n```\n") == Faults{});
  CHECK(verdict("```\n```\n[this](int x)\n").size() == 1);
  CHECK(verdict("\n[b](b.cpp)") == Faults{"docs/a.md:2: the link to b.cpp leads nowhere"});
  CHECK(verdict("see `tests/c.cpp`.") == Faults{"docs/a.md:1: tests/c.cpp does not exist"});
}

TEST_CASE("pages: excerpts equal their source", "[pages]") {
  CHECK(wrong_excerpts(repository()) == Faults{});

  const auto verdict = [](const std::string& page) {
    return wrong_excerpts(Tree{{"docs/a.md", page}, {"samples/b.cpp", "int a;\n  int b;\n"}});
  };
  CHECK(verdict("`samples/b.cpp`:\n```c++\n  int b;\n```\n```cpp\nint c;\n```\n") == Faults{});
  CHECK(verdict("`samples/b.cpp`:\n```c++\nint c;\n```\n") ==
        Faults{"docs/a.md:2: this is not in samples/b.cpp"});
  CHECK(verdict("```c++\nint a;\n```\n").size() == 1);
  CHECK(verdict("`samples/b.cpp`:\n```c++\n```\n").size() == 1);
}

TEST_CASE("errors: each code has its paragraph", "[pages]") {
  CHECK(error_pages(repository()) == Faults{});

  const auto verdict = [](const std::string& page) {
    return error_pages(
        Tree{{header("core/error.hpp"), "enum class ErrorCode {\n  a,  // b\n  c,\n};"},
             {"docs/errors.md", page}});
  };
  CHECK(verdict("**`a`**: x\n\n**`c`**: y\n") == Faults{});
  CHECK(verdict("**`a`**: x\n") == Faults{"docs/errors.md: nothing about c"});
  CHECK(verdict("**`a`**: x\n**`b`**: y\n**`c`**: z\n") ==
        Faults{"docs/errors.md: b is no ErrorCode"});
}

TEST_CASE("layers: each page has all parts", "[pages]") {
  CHECK(layer_pages(repository()) == Faults{});

  const std::string page =
      "Code: `include/a.hpp`. Source: x.\n## Formula\ny [M,D]\n## A tiny example\n[the](a)\n";
  CHECK(layer_pages(Tree{{"docs/layers/a.md", page}}) == Faults{});
  for (const std::string part : {"Code", "Source", "## Formula", "[M,D]", "## A tiny example"}) {
    std::string without = page;
    without.erase(without.find(part), part.size());
    INFO("without " << part);
    CHECK(layer_pages(Tree{{"docs/layers/a.md", without}}).size() == 1);
  }
}

TEST_CASE("pages: the index links each of them", "[pages]") {
  CHECK(orphan_pages(repository()) == Faults{});

  const Tree tree{{"docs/index.md", "[a](a.md), [b](b/c.md#d)"},
                  {"docs/a.md", ""},
                  {"docs/b/c.md", ""},
                  {"docs/d.md", ""}};
  CHECK(orphan_pages(tree) == Faults{"docs/d.md: docs/index.md has no link to it"});
}

TEST_CASE("macros: those of users are in one table", "[pages]") {
  CHECK(unlisted_macros(repository()) == Faults{});

  const auto verdict = [](const std::string& code) {
    return unlisted_macros(Tree{{header("core/config.hpp"), "//   IDEFICS_A  a\n"},
                                {header("core/a.hpp"), "#define IDEFICS_B\n" + code}});
  };
  CHECK(verdict("#ifdef IDEFICS_A\n#if IDEFICS_B\nint IDEFICS_C;\n") == Faults{});
  CHECK(verdict("#ifndef IDEFICS_C\n").size() == 1);
}

TEST_CASE("words: plain English in comments, messages and pages", "[words]") {
  CHECK(dialect(repository()) == Faults{});

  const auto verdict = [](const std::string& text) { return dialect(Tree{{"docs/a.md", text}}); };
  CHECK(verdict("The code stands for a value, behind a proxy; it is no longer read.") == Faults{});
  CHECK(verdict("a\nwhere it Lies") == Faults{"docs/a.md:2: \"lies\": docs/glossary.md says it "
                                              "otherwise"});
  CHECK(verdict("// this is\n// no weight").size() == 1);
  CHECK(verdict("this is, no doubt, fine, and there is no GPU") == Faults{});
  CHECK(dialect(Tree{{header("a.hpp"), "fail(\"nobody knows\");"}}).size() == 1);
}

TEST_CASE("letters: a dimension has one meaning", "[letters]") {
  CHECK(undeclared_letters(repository()) == Faults{});

  const auto verdict = [](const std::string& text) {
    return undeclared_letters(
        Tree{{"docs/notation.md", "| D | width | x |\n| Y, X | height, pixels | y |\n"},
             {header("a.hpp"), text}});
  };
  CHECK(verdict("Tensor t;  // [2*D,Y,X]\nint a[Q];") == Faults{});
  CHECK(verdict("// Letters: D width, Q queries.\n// [Q,D] and [begin, end)") == Faults{});
  CHECK(verdict("// [Q,D]\n") == Faults{header("a.hpp:1: Q in [Q,D] is declared nowhere")});
  CHECK(verdict("// Letters: D depth.\n").size() == 1);
}
