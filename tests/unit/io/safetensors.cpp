// The header rules of safetensors, one case each, and faults that other readers once accepted.
#include <idefics/io/safetensors.hpp>

#include "support/catch.hpp"
#include "support/temp_dir.hpp"

namespace {

/// A file with a header and `data` zero bytes.
std::string file_of(const std::string& header, std::size_t data) {
  const std::uint64_t length = header.size();
  std::string file(reinterpret_cast<const char*>(&length), sizeof length);
  return file + header + std::string(data, '\0');
}

std::string verdict(const std::string& file) {
  try {
    idefics::detail::parse_safetensors_header(std::as_bytes(std::span(file)), "f");
  } catch (const idefics::Error& error) {
    return std::string(error.code_name());
  }
  return "accepted";
}

std::string verdict(const std::string& header, std::size_t data) {
  return verdict(file_of(header, data));
}

std::string entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  const std::string& offsets) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape +
         ",\"data_offsets\":" + offsets + "}";
}

}  // namespace

TEST_CASE("valid headers are accepted") {
  CHECK(verdict("{}", 0) == "accepted");
  CHECK(verdict("\t\r\n {} \t\r\n", 0) == "accepted");
  CHECK(verdict("{\"__metadata__\":null}", 0) == "accepted");
  CHECK(
      verdict("{\"t\":{\"x\":[{\"dtype\":1}],\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],"
              "\"y\":null}}",
              1) == "accepted");
  CHECK(verdict("{" + entry("s", "F32", "[]", "[0,4]") + "}", 4) == "accepted");
  CHECK(verdict("{" + entry("e", "F32", "[0,3]", "[0,0]") + "}", 0) == "accepted");
  CHECK(verdict(
            "{" + entry("b", "U8", "[1]", "[4,5]") + "," + entry("a", "F32", "[1]", "[0,4]") + "}",
            5) == "accepted");
}

TEST_CASE("sizes and offsets that contradict each other are refused") {
  const auto one = [](const char* shape, const char* offsets, std::size_t data) {
    return verdict("{" + entry("t", "F32", shape, offsets) + "}", data);
  };
  CHECK(one("[4194305,4194305,211106198978564]", "[0,16]", 16) == "arithmetic_overflow");
  CHECK(one("[1000,1000]", "[0,4]", 4) == "invalid_safetensors");
  CHECK(one("[1]", "[4,0]", 4) == "invalid_safetensors");
  CHECK(one("[2]", "[0,8]", 4) == "truncated_file");
  CHECK(one("[1]", "[0,4]", 5) == "oversized_file");
  CHECK(one("[1]", "[4,8]", 8) == "invalid_safetensors");
  for (const char* dim : {"[-1]", "[1.0]", "[1e0]", "[\"1\"]", "[281474976710657]"})
    CHECK(one(dim, "[0,4]", 4) == "invalid_safetensors");
  CHECK(verdict(
            "{" + entry("k", "F32", "[1]", "[0,4]") + "," + entry("v", "F32", "[1]", "[0,4]") + "}",
            4) == "invalid_safetensors");
}

TEST_CASE("entries and metadata that lack or repeat something are refused") {
  const auto fields = [](const std::string& text) { return verdict("{\"t\":{" + text + "}}", 4); };
  for (const char* text :
       {R"("dtype":"F32","shape":[1])", R"("dtype":"F32","shape":[1],"data_offsets":[0])",
        R"("dtype":"F32","shape":[1],"data_offsets":[0,2,4])",
        R"("dtype":"F32","shape":"1","data_offsets":[0,4])",
        R"("dtype":["F32"],"shape":[1],"data_offsets":[0,4])",
        R"("dtype":true,"shape":[1],"data_offsets":[0,4])",
        R"("dtype":"F32","shape":{},"data_offsets":[0,4])",
        R"("dtype":"F32","shape":[[1]],"data_offsets":[0,4])"}) {
    INFO(text);
    CHECK(fields(text) == "invalid_safetensors");
  }
  CHECK(fields(R"("dtype":"F32","dtype":"F32")") == "duplicate_key");
  CHECK(fields(R"("x":1,"y":[-1,1.5,true,"z"],"dtype":"F32","shape":[1],"data_offsets":[0,4])") ==
        "accepted");
  CHECK(verdict(R"({"t":1})", 0) == "invalid_safetensors");
  CHECK(verdict(R"({"__metadata__":{"a":"b","a":"c"}})", 0) == "duplicate_key");
  CHECK(verdict(R"({"__metadata__":{},"__metadata__":{}})", 0) == "duplicate_key");
  CHECK(verdict(R"({"__metadata__":[]})", 0) == "invalid_safetensors");
  std::string entries, metadata;
  for (std::size_t i = 0; i <= idefics::detail::max_entries; ++i) {
    const std::string name = std::to_string(i);
    entries += (i == 0 ? "" : ",") + entry(name, "U8", "[0]", "[0,0]");
    metadata.append(i == 0 ? "\"" : ",\"").append(name).append("\":\"\"");
  }
  CHECK(verdict("{" + entries + "}", 0) == "invalid_safetensors");
  CHECK(verdict("{\"__metadata__\":{" + metadata + "}}", 0) == "invalid_safetensors");
}

TEST_CASE("texts that are not a header are refused") {
  CHECK(verdict(std::string("short")) == "truncated_file");
  CHECK(verdict(std::string(8, '\xff')) == "invalid_safetensors");
  CHECK(verdict("\v{}", 0) == "invalid_safetensors");
  CHECK(verdict("", 0) == "invalid_safetensors");
  CHECK(verdict(" \n", 0) == "invalid_safetensors");
  CHECK(verdict("{}x", 0) == "invalid_safetensors");
  CHECK(verdict("{}{}", 0) == "invalid_json");
  CHECK(verdict(std::string("{}\0{}", 5), 0) == "invalid_json");
  CHECK(verdict("{\"\xff\":1}", 0) == "invalid_json");
  CHECK(verdict("{" + entry("t", "F31", "[1]", "[0,4]") + "}", 4) == "unsupported_dtype");
  const auto twice = entry("t", "F32", "[1]", "[0,4]");
  CHECK(verdict("{" + twice + "," + twice + "}", 4) == "duplicate_key");
  CHECK(verdict("{\"__metadata__\":{\"n\":1}}", 0) == "invalid_safetensors");
  CHECK(verdict(std::string("version https://git-lfs.github.com/spec/v1\n")) == "git_lfs_pointer");
}

TEST_CASE("a written file is read back, and no truncation of it is accepted") {
  const testing::TempDir directory;
  const auto path = directory.path() / "t.safetensors";
  auto values = idefics::Tensor::empty(idefics::DType::f32, {2, 3});
  for (std::size_t i = 0; i < 6; ++i) values.as_mutable<float>()[i] = static_cast<float>(i);
  idefics::write_safetensors(
      path, {{"z", values}, {"a", idefics::Tensor::zeros(idefics::DType::u8, {3})}},
      {{"format", "pt"}});
  const auto file = idefics::SafetensorsFile::open(path);
  CHECK(file.tensors().front().name == "z");  // the wider dtype comes first
  CHECK(file.metadata().at("format") == "pt");
  CHECK(file.tensor("z").as<float>()[5] == 5.0f);
  CHECK(file.find("absent") == nullptr);
  const std::string whole = idefics::detail::read_text_file(path, 4096);
  for (std::size_t n = 0; n < whole.size(); ++n) CHECK(verdict(whole.substr(0, n)) != "accepted");
}
