// JSON as Python's json reads it, and headers of safetensors files as the format's reader accepts
// them.
#include <cmath>
#include <cstdlib>

#include <idefics/io/json.hpp>
#include <idefics/io/safetensors.hpp>

#include "support/catch.hpp"

using namespace idefics;

namespace {

const std::filesystem::path data = std::filesystem::path(IDEFICS_GOLDEN_DIR) / "json";

/// UTF-8, in which a surrogate has three bytes like its neighbours.
std::string text_of(const Json& code_points) {
  std::string text;
  for (const Json& point : code_points) {
    const auto c = point.get<unsigned>();
    const auto add = [&text](unsigned byte) { text.push_back(static_cast<char>(byte)); };
    const auto rest = [&](unsigned count) {
      while (count-- > 0) add(0x80 | (c >> 6 * count & 0x3f));
    };
    if (c < 0x80) {
      add(c);
    } else if (c < 0x800) {
      add(0xc0 | c >> 6), rest(1);
    } else if (c < 0x10000) {
      add(0xe0 | c >> 12), rest(2);
    } else {
      add(0xf0 | c >> 18), rest(3);
    }
  }
  return text;
}

bool same_float(const Json& value, const std::string& hex) {
  if (!value.is_number()) return false;
  const auto found = value.get<double>(), wanted = std::strtod(hex.c_str(), nullptr);
  if (std::isnan(wanted)) return std::isnan(found);
  return found == wanted && std::signbit(found) == std::signbit(wanted);
}

/// Whether a value is the one that the recording describes, type by type.
bool is_described(const Json& value, const Json& about) {
  const std::string& kind = about.begin().key();
  const Json& what = about.begin().value();
  if (kind == "text") return value.is_string() && value.get<std::string>() == text_of(what);
  if (kind == "word") return value.dump() == what.get<std::string>();
  if (kind == "integer") return value.is_number_integer() && value.dump() == what;
  if (kind == "float") return value.is_number_float() && same_float(value, what.get<std::string>());
  if (!(kind == "list" ? value.is_array() : value.is_object()) || value.size() != what.size())
    return false;
  return std::ranges::all_of(what, [&, i = std::size_t{0}](const Json& part) mutable {
    if (kind == "list") return is_described(value[i++], part);
    const auto name = text_of(part[0]);
    return value.contains(name) && is_described(value[name], part[1]);
  });
}

}  // namespace

TEST_CASE("texts of JSON have the values that Python's json reads") {
  const Json cases = read_json_file(data / "python.json").at("cases");
  REQUIRE(cases.size() >= 1200);
  for (const Json& one : cases) {
    const auto text = one[0].get<std::string>();
    INFO(one.dump());
    try {
      const Json value = parse_json(text, "text");
      REQUIRE(one[1].is_object());
      CHECK(is_described(value, one[1]));
    } catch (const Error& error) {
      CHECK(error.code() ==
            (one[1].is_null() ? ErrorCode::invalid_json : ErrorCode::duplicate_key));
      CHECK(error.context().offset.value_or(0) <= text.size());
    }
  }
}

TEST_CASE("strict parsing accepts the same values, without those that are not JSON") {
  std::size_t refused = 0;
  const Json cases = read_json_file(data / "python.json").at("cases");
  for (const Json& one : cases) {
    if (!one[1].is_object()) continue;
    const auto text = one[0].get<std::string>();
    INFO(one.dump());
    const std::string dump =
        parse_json(text, "text").dump(-1, ' ', false, Json::error_handler_t::ignore);
    try {
      const Json value = parse_json(text, "text", {.strict = true});
      CHECK(value.dump() == dump);
    } catch (const Error& error) {
      CHECK(error.code() == ErrorCode::invalid_json);
      ++refused;
    }
  }
  CHECK(refused > 200);
}

TEST_CASE("headers are accepted and refused as safetensors does") {
  const Json cases = read_json_file(data / "safetensors.json").at("cases");
  REQUIRE(cases.size() >= 200);
  for (const Json& one : cases) {
    const auto header = one[0].get<std::string>();
    INFO(header);
    const std::uint64_t length = header.size();
    std::string file(reinterpret_cast<const char*>(&length), sizeof length);
    file += header + std::string(4, '\0');
    bool accepted = true;
    try {
      (void)detail::parse_safetensors_header(std::as_bytes(std::span(file)), "f");
    } catch (const Error&) {
      accepted = false;
    }
    CHECK(accepted == one[1].get<bool>());
  }
}
