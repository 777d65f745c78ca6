// Quantized checkpoints that are refused, inconsistent quant states, and quantizing that stops
// half-way.
#include <idefics/backend/cpu/quantize.hpp>
#include <idefics/io/checkpoint.hpp>
#include <idefics/io/json.hpp>
#include <idefics/model.hpp>
#include <idefics/quant/bnb_format.hpp>
#include <idefics/quant/int8_format.hpp>
#include <idefics/quantize.hpp>

#include "support/catch.hpp"
#include "support/temp_dir.hpp"

using namespace idefics;

namespace {

std::filesystem::path golden(const char* name) {
  return std::filesystem::path(IDEFICS_GOLDEN_DIR) / name;
}

/// The error that `action` throws; fails the test if nothing is thrown.
template <class Action>
Error fault_of(const Action& action) {
  try {
    action();
  } catch (const Error& error) {
    return error;
  }
  FAIL("no error");
  throw std::logic_error("no error");
}

Error config_fault(const char* quantization_config) {
  const Json config = {{"model_type", "idefics"},
                       {"quantization_config", Json::parse(quantization_config)}};
  return fault_of([&] { (void)read_quantization_config(config, "config.json"); });
}

/// The parts of the tensor "t" of a small checkpoint, and the error after one of them is changed.
class Damaged {
 public:
  Damaged() {
    Tensor x = Tensor::zeros(DType::f32, {4, 100});
    x.as_mutable<float>()[7] = 1.5f;
    directory_.write("config.json", "{}");
    for (const NamedTensor& part :
         detail::bnb_tensors("t", quantize_4bit(x, {.type = QuantType::nf4, .double_quant = true})))
      parts_.emplace(part.name, part.tensor);
  }
  Error without(const std::string& name) const {
    auto parts = parts_;
    parts.erase(name);
    return error_of(parts);
  }
  Error with(const std::string& name, const Tensor& tensor) const {
    auto parts = parts_;
    parts[name] = tensor;
    return error_of(parts);
  }
  Error with_json(const std::string& from, const std::string& to) const {
    const Tensor& json = parts_.at(state);
    std::string text(reinterpret_cast<const char*>(json.raw()), json.bytes());
    text.replace(text.find(from), from.size(), to);
    Tensor changed = Tensor::empty(DType::u8, {std::ssize(text)});
    std::memcpy(changed.raw_mutable(), text.data(), text.size());
    return with(state, changed);
  }
  static inline const std::string state = "t.quant_state.bitsandbytes__nf4";

 private:
  Error error_of(const std::map<std::string, Tensor>& parts) const {
    std::vector<NamedTensor> tensors;
    for (const auto& [name, tensor] : parts) tensors.push_back({name, tensor});
    write_safetensors(directory_.path() / "model.safetensors", tensors);
    const auto checkpoint = Checkpoint::open(directory_.path());
    return fault_of([&] { (void)detail::read_bnb(checkpoint, "t"); });
  }

  testing::TempDir directory_;
  std::map<std::string, Tensor> parts_;
};

void check(const Error& error, const char* field) {
  CAPTURE(error.what());
  CHECK(error.code_name() == "invalid_quant_state");
  CHECK(error.context().field == field);
  CHECK(error.context().tensor == "t");
  CHECK(error.context().file.ends_with("model.safetensors"));
}

}  // namespace

TEST_CASE("unsupported quantizations are refused by name") {
  for (const char* method : {"gptq", "awq", "hqq"}) {
    const Error error =
        config_fault((R"({"quant_method":")" + std::string(method) + "\"}").c_str());
    CHECK(error.code_name() == "unsupported_quantization");
    CHECK(std::string(error.what()).find(method) != std::string::npos);
  }
  CHECK(config_fault(R"({"load_in_4bit":true,"bnb_4bit_quant_type":"int4"})").code_name() ==
        "invalid_config");
  CHECK(config_fault(R"({"load_in_4bit":true,"llm_int8_skip_modules":"lm_head"})").code_name() ==
        "invalid_config");
}

TEST_CASE("a configuration of int8 that cannot be followed is refused") {
  for (const char* config :
       {R"({"load_in_8bit":true,"load_in_4bit":true})",
        R"({"load_in_8bit":true,"llm_int8_threshold":-0.5})",
        R"({"load_in_8bit":true,"llm_int8_threshold":1e39})",
        R"({"load_in_8bit":true,"llm_int8_threshold":"6"})", R"({"load_in_8bit":"yes"})",
        R"({"load_in_8bit":true,"llm_int8_skip_modules":[7]})"}) {
    CAPTURE(config);
    CHECK(config_fault(config).code_name() == "invalid_config");
  }
  const auto load = [](BitsAndBytesConfig config) {
    return fault_of([&] {
      (void)Model::from_pretrained((golden("models") / "published").string(),
                                   {.quantization_config = config});
    });
  };
  CHECK(load({.load_in_8bit = true, .load_in_4bit = true}).code_name() == "invalid_option");
  for (const float threshold :
       {-1.0f, std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    BitsAndBytesConfig config{.load_in_8bit = true};
    config.llm_int8_threshold = threshold;
    CHECK(load(config).code_name() == "invalid_option");
    CHECK(load(config).context().field == "llm_int8_threshold");
  }
}

TEST_CASE("every fault in an int8 matrix names its file, tensor and part") {
  const testing::TempDir directory;
  directory.write("config.json", "{}");
  const auto fault = [&](const std::string& part, const Tensor& tensor) {
    std::map<std::string, Tensor> parts{{"t.weight", Tensor::zeros(DType::i8, {4, 10})},
                                        {"t.SCB", Tensor::zeros(DType::f32, {4})},
                                        {"t.weight_format", Tensor::zeros(DType::u8, Shape())}};
    parts[part] = tensor;
    if (!tensor) parts.erase(part);
    std::vector<NamedTensor> tensors;
    for (const auto& [name, one] : parts) tensors.push_back({name, one});
    write_safetensors(directory.path() / "model.safetensors", tensors);
    const auto checkpoint = Checkpoint::open(directory.path());
    CHECK(detail::is_int8(checkpoint, "t.weight"));
    const Error error = fault_of([&] { (void)detail::read_int8(checkpoint, "t.weight"); });
    CHECK(error.code_name() == "invalid_quant_state");
    CHECK(error.context().tensor == "t.weight");
    CHECK(error.context().file.ends_with("model.safetensors"));
    return error.context().field + ": " + error.what();
  };
  const auto says = [](const std::string& text, const char* part) {
    CAPTURE(text, part);
    CHECK(text.find(part) != std::string::npos);
  };
  says(fault("t.SCB", {}), "SCB: ");
  says(fault("t.SCB", {}), "is missing");
  says(fault("t.SCB", Tensor::zeros(DType::f32, {3})), "SCB: ");
  says(fault("t.SCB", Tensor::zeros(DType::f32, {4, 1})), "SCB: ");
  says(fault("t.SCB", Tensor::zeros(DType::f16, {4})), "SCB: ");
  says(fault("t.weight", Tensor::zeros(DType::f16, {4, 10})), "weight: ");
  says(fault("t.weight", Tensor::zeros(DType::i8, {40})), "weight: ");
  says(fault("t.weight", Tensor::zeros(DType::i8, {4, 131073})), "weight: ");
  for (const auto& [format, name] :
       {std::pair{1, "col32"}, {2, "col_turing"}, {3, "col_ampere"}, {9, "of this number"}})
    says(fault("t.weight_format", Tensor::from({static_cast<std::uint8_t>(format)}, Shape())),
         name);
}

TEST_CASE("every fault in a quant state names its file, tensor and field") {
  const Damaged damaged;
  const auto zeros = [](DType dtype, Shape shape) { return Tensor::zeros(dtype, shape); };
  check(damaged.without(Damaged::state), "quant_state");
  check(damaged.with("t.quant_state.bitsandbytes__fp4", zeros(DType::u8, {2})), "quant_state");
  for (const char* part : {"absmax", "quant_map", "nested_absmax", "nested_quant_map"})
    check(damaged.without("t." + std::string(part)), part);
  check(damaged.with("t", zeros(DType::u8, {100, 1})), "shape");
  check(damaged.with("t", zeros(DType::u8, {1, 200})), "weight");
  check(damaged.with("t", zeros(DType::i32, {50, 1})), "quant_storage");
  check(damaged.with("t.absmax", zeros(DType::f32, {7})), "absmax");
  check(damaged.with("t.absmax", zeros(DType::u8, {8})), "absmax");
  check(damaged.with("t.quant_map", zeros(DType::f32, {16})), "quant_map");
  check(damaged.with("t.nested_quant_map", zeros(DType::f32, {256})), "nested_quant_map");
  check(damaged.with("t.nested_absmax", zeros(DType::f32, {2})), "nested_absmax");
  check(damaged.with_json("\"nf4\"", "\"fp4\""), "quant_type");
  check(damaged.with_json("64", "48"), "blocksize");
  check(damaged.with_json("64", "128"), "absmax");
  check(damaged.with_json("[4, 100]", "[4, 0]"), "shape");
  check(damaged.with_json("[4, 100]", "[4, -100]"), "shape");
  check(damaged.with_json("[4, 100]", "[4, 101]"), "shape");
  check(damaged.with_json("\"dtype\": \"float32\"", "\"dtype\": \"int8\""), "dtype");
  check(damaged.with_json("256", "128"), "nested_blocksize");
  check(damaged.with_json("\"nested_dtype\": \"float32\"", "\"nested_dtype\": \"float16\""),
        "nested_dtype");
  check(damaged.with_json("\"nested_offset\": ", "\"nested_offset\": 1e39, \"x\": "),
        "nested_offset");
  CHECK(damaged.with_json("{", "[").code_name() == "invalid_json");
  check(damaged.with_json("\"nf4\"", "4"), "quant_type");
  check(damaged.with_json("\"nf4\"", "null"), "quant_type");
  check(damaged.with_json("64", "281474976710657"), "blocksize");
  check(damaged.with_json("64", "64.0"), "blocksize");
  check(damaged.with_json("\"blocksize\": 64", "\"x\": 64"), "blocksize");
  check(damaged.with_json("[4, 100]", "400"), "shape");
  check(damaged.with_json("[4, 100]", "null"), "shape");
  check(damaged.with_json("[4, 100]", "[1, 1, 1, 1, 4, 100]"), "shape");
  CHECK(damaged.with_json("[4, 100]", "[281474976710656, 281474976710656]").code_name() ==
        "arithmetic_overflow");
  check(damaged.with_json("\"nested_offset\": ", "\"nested_offset\": \"0\", \"x\": "),
        "nested_offset");
  check(damaged.with_json("\"nested_offset\": ", "\"x\": "), "nested_offset");
  const auto whole = [&](const std::string& json) {
    Tensor bytes = Tensor::empty(DType::u8, {std::ssize(json)});
    std::memcpy(bytes.raw_mutable(), json.data(), json.size());
    return damaged.with(Damaged::state, bytes);
  };
  check(whole("[]"), "quant_state");
  check(whole(std::string(5000, ' ')), "quant_state");
}

TEST_CASE("numbers of a quant state are written as Python writes them") {
  for (const auto& [value, text] : {std::pair{0.0, "0.0"},
                                    {1.0, "1.0"},
                                    {-2.5, "-2.5"},
                                    {1e15, "1000000000000000.0"},
                                    {1e16, "1e+16"},
                                    {1e-4, "0.0001"},
                                    {1e-5, "1e-05"},
                                    {1.5e-7, "1.5e-07"}})
    CHECK(detail::python_float(value) == text);
}

TEST_CASE("quantizing that stops half-way leaves no output, and no file is overwritten") {
  const testing::TempDir directory;
  const auto out = directory.path() / "out";
  QuantizeCheckpointOptions options;
  options.progress = [](const Progress& p) { return p.done < 20; };
  const auto source = golden("models") / "published";
  CHECK(fault_of([&] { quantize_checkpoint(source, out, options); }).code_name() == "cancelled");
  CHECK(std::filesystem::is_empty(directory.path()));
  directory.write("out", "mine");
  CHECK(fault_of([&] { quantize_checkpoint(source, out); }).code_name() == "io_failure");
  CHECK(detail::read_text_file(out, 100) == "mine");
  CHECK(fault_of([&] {
          quantize_checkpoint(golden("four_bit") / "nf4_double", directory.path() / "again");
        }).code_name() == "unsupported_quantization");
  CHECK(fault_of([&] {
          quantize_checkpoint(golden("int8") / "published", directory.path() / "again");
        }).code_name() == "unsupported_quantization");
}
