// Answers that match a pattern: which texts match, as Python's re.fullmatch and a JSON parser see it, and
// that a model under the constraint writes nothing else.
#include <idefics/constrained_text.hpp>
#include <idefics/io/json.hpp>
#include <idefics/model.hpp>
#include <idefics/processor.hpp>

#include "support/catch.hpp"
#include "support/fault.hpp"
#include "support/test_data.hpp"

using namespace idefics;

namespace {

const std::filesystem::path tiny = std::filesystem::path(IDEFICS_SOURCE_DIR) / "samples/tiny";

Json schema_of(const char* text) { return Json::parse(text); }

bool valid(const char* schema, std::string_view text) {
  return ConstrainedText::json_schema(schema_of(schema)).matches(text);
}

constexpr const char* scene = R"({"type": "object",
  "properties": {
    "colour": {"enum": ["red", "blue", "pink"]},
    "count": {"type": "integer"},
    "note": {"type": "string", "maxLength": 4},
    "sure": {"type": ["boolean", "null"]},
    "things": {"type": "array", "items": {"$ref": "#/$defs/thing"}, "minItems": 1, "maxItems": 3}},
  "required": ["colour", "count", "things"], "additionalProperties": false,
  "$defs": {"thing": {"type": "string", "enum": ["boat", "fish"]}}})";

}  // namespace

TEST_CASE("regular expressions match what Python's re.fullmatch matches") {
  const Json recorded =
      read_json_file(std::filesystem::path(IDEFICS_GOLDEN_DIR) / "regular_expressions.json");
  std::size_t count = 0;
  for (const Json& one : recorded["expressions"]) {
    const auto expression = one["expression"].get<std::string>();
    const ConstrainedText text = ConstrainedText::regex(expression);
    for (std::size_t i = 0; i < recorded["texts"].size(); ++i, ++count) {
      const auto candidate = recorded["texts"][i].get<std::string>();
      INFO(expression << " | " << candidate);
      CHECK(text.matches(candidate) == one["matches"][i].get<bool>());
    }
  }
  CHECK(count > 1000);
}

TEST_CASE("expressions that are wrong or not supported are refused with their place") {
  for (const char* bad :
       {"(", ")", "a)", "[a", "a{2", "a{3,2}", "*a", "a{2000}", "\\q", "(?=a)", "(?P<n>a)", "[z-a]",
        "[\xc3\xa9-\xc3\xaf]", "\\", "a\xff", "((a{900}){900}){900}"}) {
    INFO(bad);
    testing::check({bad, ErrorCode::invalid_option,
                    [&] { (void)ConstrainedText::regex(bad, "guided_regex"); }, "", "",
                    "guided_regex", false});
  }
}

TEST_CASE("a schema matches valid texts and no others") {
  CHECK(valid(scene, R"({"colour":"red","count":0,"things":["boat"]})"));
  CHECK(valid(
      scene,
      R"({"colour": "red", "count": -12, "note": "\u00e9x", "sure": null, "things": ["boat", "fish"]})"));
  CHECK(!valid(scene, R"({"colour":"red","count":0})"));
  CHECK(!valid(scene, R"({"colour":"green","count":0,"things":["boat"]})"));
  CHECK(!valid(scene, R"({"colour":"red","count":01,"things":["boat"]})"));
  CHECK(!valid(scene, R"({"colour":"red","count":0,"things":[]})"));
  CHECK(!valid(scene, R"({"colour":"red","count":0,"note":"abcde","things":["boat"]})"));
  CHECK(!valid(scene, R"({"colour":"red","count":0,"things":["boat"]}})"));
  CHECK(valid(R"({"anyOf": [{"type": "number"}, {"const": [1, "a"]}]})", "-1.5e+3"));
  CHECK(valid(R"({"anyOf": [{"type": "number"}, {"const": [1, "a"]}]})", "[1,\"a\"]"));
  // a recursion that may end, and members that may be missing
  const char* tree =
      R"({"type": "object", "properties": {"a": {"$ref": "#"}, "b": {"type": "null"}}})";
  CHECK(valid(tree, R"({"a":{"a":{},"b":null}})"));
  CHECK(valid(tree, R"({"b":null})"));
  CHECK(!valid(tree, R"({,"b":null})"));
  CHECK(ConstrainedText::json_object().matches(R"({"x": [1, {"y": "\n\u20ac"}], "z": true})"));
  CHECK(!ConstrainedText::json_object().matches("[1]"));
}

TEST_CASE("schemas that cannot be kept are refused with their place") {
  const auto place = [](const char* schema) {
    try {
      (void)ConstrainedText::json_schema(schema_of(schema));
      return std::string("none");
    } catch (const Error& error) {
      CHECK(error.code() == ErrorCode::invalid_option);
      return error.context().field;
    }
  };
  CHECK(place("3") == "json_schema");
  CHECK(place(R"({"type": "text"})") == "json_schema.type");
  CHECK(place(R"({"type": "integer", "minimum": 3})") == "json_schema.minimum");
  CHECK(place(R"({"properties": {"a": {"type": "string", "pattern": "x"}}})") ==
        "json_schema.properties.a.pattern");
  CHECK(place(R"({"type": "array", "minItems": 3, "maxItems": 2})") == "json_schema.maxItems");
  CHECK(place(R"({"type": "array", "items": {"$ref": "#/$defs/a"}})") == "json_schema.items.$ref");
  CHECK(place(R"({"enum": 3})") == "json_schema.enum");
  // every level multiplies the states
  CHECK(
      place(
          R"({"type":"array","minItems":1000,"items":{"type":"array","minItems":1000,"items":{"type":"string"}}})") ==
      "json_schema");
}

TEST_CASE("a thousand answers of a model under a schema are valid JSON") {
  const Model model = Model::from_pretrained(tiny.string());
  const Processor processor = Processor::from_pretrained(tiny.string());
  const Tokenizer& tokenizer = processor.tokenizer();
  const ConstrainedText constraint = ConstrainedText::json_schema(schema_of(scene));
  const Inputs inputs = processor({"What is this?"});
  std::size_t complete = 0;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const auto output =
        model.generate(inputs, {.max_new_tokens = 200,
                                .do_sample = true,
                                .seed = seed,
                                .num_return_sequences = 50,
                                .prefix_allowed_tokens_fn = constraint.allowed_tokens(
                                    tokenizer, inputs.input_ids.dim(1), {tokenizer.eos_id()}),
                                .temperature = 1.5});
    for (const auto& ids : output.new_tokens) {
      const std::string text = tokenizer.decode(ids, {.skip_special_tokens = true});
      const Json answer = Json::parse(text, nullptr, false);
      complete += answer.is_object() && answer.contains("things") && constraint.matches(text);
    }
  }
  CHECK(complete == 1000);
}
