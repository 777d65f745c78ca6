// LLM.int8 against transformers and bitsandbytes: codes, constants, outliers and products of
// layers; stored tensors; logits.
#include <cmath>

#include <idefics/backend/cpu/cpu_backend.hpp>
#include <idefics/backend/cpu/quantize.hpp>
#include <idefics/backend/reference/linear_int8.hpp>
#include <idefics/io/checkpoint.hpp>
#include <idefics/io/json.hpp>
#include <idefics/model.hpp>
#include <idefics/quantize.hpp>

#include "support/catch.hpp"
#include "support/golden_models.hpp"
#include "support/hash.hpp"
#include "support/logits_distance.hpp"
#include "support/temp_dir.hpp"

using namespace idefics;

namespace {

std::filesystem::path folder() { return std::filesystem::path(IDEFICS_GOLDEN_DIR) / "int8"; }

std::string bytes_of(const Tensor& t) {
  return {reinterpret_cast<const char*>(t.raw()), t.bytes()};
}

/// One of the layers of cases.safetensors.
struct Layer {
  Tensor x, weight, bias, codes, absmax, x_codes, x_absmax, outliers, rows, whole;
  float threshold;
};

Layer layer(const SafetensorsFile& file, const std::string& key) {
  const auto get = [&](const char* part) { return file.tensor(key + part); };
  return {get("x"),
          get("weight"),
          get("bias"),
          get("codes"),
          get("SCB"),
          get("x_codes"),
          get("x_absmax"),
          get("outliers"),
          get("rows"),
          get("whole"),
          detail::element_as_f32(get("threshold"), 0)};
}

Tensor product(const Layer& l, DType dtype) {
  Tensor out = Tensor::empty(DType::f32, l.rows.shape());
  const Compute compute = dtype == DType::bf16 ? Compute::bf16 : Compute::f32;
  make_cpu_backend()->linear(out, convert(l.x, DType::f32),
                             {.int8 = {l.codes, l.absmax, l.threshold}}, l.bias, compute);
  return out;
}

struct Case {
  Inputs inputs;
  Tensor plain, whole, rows;
};

std::vector<Case> cases_of(const std::string& name) {
  const auto file = SafetensorsFile::open(folder() / name / "forward.safetensors");
  std::vector<Case> cases;
  for (int i = 0; i < 2; ++i) {
    const auto get = [&](const char* key) { return file.tensor(std::to_string(i) + "." + key); };
    cases.push_back({{get("input_ids"), get("attention_mask"), get("pixel_values"),
                      get("image_attention_mask")},
                     get("plain"),
                     get("whole"),
                     get("rows")});
  }
  return cases;
}

}  // namespace

TEST_CASE("codes, constants and outliers are those of bitsandbytes, and products agree") {
  const auto file = SafetensorsFile::open(folder() / "cases.safetensors");
  for (const auto& [name, dtype, epsilon] : {std::tuple{"f32", DType::f32, 1e-6},
                                             {"f16", DType::f16, 1e-3},
                                             {"bf16", DType::bf16, 8e-3}})
    for (int i = 0; i < 6; ++i) {
      const std::string key = std::string(name) + "." + std::to_string(i) + ".";
      CAPTURE(key);
      const Layer l = layer(file, key);
      const Int8Matrix q = quantize_int8(l.weight, dtype, l.threshold);
      CHECK(bytes_of(q.codes) == bytes_of(l.codes));
      CHECK(bytes_of(q.absmax) == bytes_of(l.absmax));

      // the kernels round x to the compute dtype, whose rounding to f16 bitsandbytes quantizes
      const std::int64_t k = l.x.dim(1);
      const Tensor x = convert(l.x, DType::f32);
      const auto& kernels = detail::best_kernels();
      std::vector<std::int16_t> codes(static_cast<std::size_t>(k + 32));
      std::vector<std::int32_t> columns(static_cast<std::size_t>(k));
      for (std::int64_t m = 0; m < l.x.dim(0); ++m) {
        const auto row =
            kernels.int8.quantize_row(codes.data(), columns.data(), x.as<float>().data() + m * k, k,
                                      l.threshold, dtype == DType::bf16);
        CHECK(row.absmax == l.x_absmax.as<float>()[static_cast<std::size_t>(m)]);
        std::vector<std::uint8_t> outliers(static_cast<std::size_t>(k));
        for (std::int64_t j = 0; j < row.outliers; ++j)
          outliers[static_cast<std::size_t>(columns[static_cast<std::size_t>(j)])] = 1;
        for (std::int64_t j = 0; j < k; ++j) {
          const auto at = static_cast<std::size_t>(m * k + j), column = static_cast<std::size_t>(j);
          CHECK(codes[column] == l.x_codes.as<std::int8_t>()[at]);
          CHECK(outliers[column] == l.outliers.as<std::uint8_t>()[at]);
        }
      }

      // in f16 and bf16, bitsandbytes rounds products, and sums with outliers once more
      const Tensor out = product(l, dtype);
      double largest = 0;
      for (const float v : l.rows.as<float>())
        largest = std::max(largest, std::abs(static_cast<double>(v)));
      for (std::size_t j = 0; j < out.as<float>().size(); ++j)
        CHECK(std::abs(static_cast<double>(out.as<float>()[j] - l.rows.as<float>()[j])) <=
              epsilon * largest);
    }
}

TEST_CASE("int8 checkpoints saved by transformers give the logits of its rows") {
  for (const char* name : {"published", "low_threshold", "no_outliers", "fp16_weight"}) {
    auto model = Model::from_pretrained((folder() / name).string(), {.dtype = DType::f32});
    for (const Case& one : cases_of(name)) {
      CAPTURE(name);
      const Tensor logits = model.forward(one.inputs).logits;
      const Tensor& mask = one.inputs.attention_mask;
      CHECK(golden::logits_distance(logits, mask, one.rows) <= 1e-4);
      // the reference's own error, with outlier columns of whole calls
      const double error = golden::logits_distance(one.whole, mask, one.plain);
      CAPTURE(error);
      CHECK(golden::logits_distance(logits, mask, one.whole) <= 1.5 * error);
      CHECK(golden::logits_distance(logits, mask, one.plain) <= 2 * error);
    }
  }
}

TEST_CASE("quantizing to int8 on load gives the bits of the saved checkpoint") {
  const std::tuple<const char*, const char*, float> sources[] = {
      {"published", "published", 6.0f}, {"low_threshold", "odd_widths", 1.5f}};
  for (const auto& [saved, source, threshold] : sources) {
    BitsAndBytesConfig config{.load_in_8bit = true};
    config.llm_int8_threshold = threshold;
    auto ours = golden::load(source, {.quantization_config = config});
    auto reference = Model::from_pretrained((folder() / saved).string());
    for (const Case& one : cases_of(saved)) {
      CAPTURE(saved);
      CHECK(bytes_of(ours.forward(one.inputs).logits) ==
            bytes_of(reference.forward(one.inputs).logits));
    }
  }
}

TEST_CASE("the threshold is the requested one, else the checkpoint's, else 6") {
  const Case one = cases_of("low_threshold").front();
  const auto bits = [&one](const char* name, std::optional<float> threshold) {
    BitsAndBytesConfig config;
    config.llm_int8_threshold = threshold;
    auto model =
        Model::from_pretrained((folder() / name).string(), {.quantization_config = config});
    return bytes_of(model.forward(one.inputs).logits);
  };
  CHECK(bits("low_threshold", {}) == bits("low_threshold", 1.5f));
  CHECK(bits("low_threshold", {}) != bits("low_threshold", 6.0f));
}

TEST_CASE("quantize writes the int8 tensors that transformers saves, byte for byte") {
  const Json recorded = read_json_file(folder() / "tensors.json");
  CHECK(recorded["rows"].size() == 16 * 3);
  const testing::TempDir directory;
  for (const Json& row : recorded["rows"]) {
    const auto name = row[0].get<std::string>(), dtype = row[1].get<std::string>();
    QuantizeCheckpointOptions options{.config = {.load_in_8bit = true}};
    if (dtype == "bfloat16") options.dtype = DType::bf16;
    if (dtype == "float32") options.dtype = DType::f32;
    const auto out = directory.path() / "out";
    quantize_checkpoint(golden::models_dir() / name, out, options);
    CAPTURE(name, row.dump());
    const Checkpoint checkpoint = Checkpoint::open(out);
    std::string lines;
    for (const TensorInfo* t : checkpoint.tensors()) {  // sorted by name
      const std::map<std::string, std::string> names{{"U8", "uint8"},
                                                     {"I8", "int8"},
                                                     {"F16", "float16"},
                                                     {"BF16", "bfloat16"},
                                                     {"F32", "float32"}};
      lines += (lines.empty() ? "" : "\n") + t->name + " " + names.at(t->dtype_name) + " " +
               Shape(std::span<const std::int64_t>(t->dims)).to_string() + " " +
               testing::hex64(bytes_of(checkpoint.bytes(t->name)));
    }
    CHECK(checkpoint.tensors().size() == row[2].get<std::size_t>());
    CHECK(testing::hex64(lines) == row[3].get<std::string>());
    std::filesystem::remove_all(out);
  }
}

TEST_CASE("a written int8 checkpoint has the configuration that transformers writes, and loads") {
  const testing::TempDir directory;
  const auto out = directory.path() / "out";
  QuantizeCheckpointOptions options{.config = {.load_in_8bit = true}};
  options.config.llm_int8_threshold = 0.0f;
  options.config.llm_int8_skip_modules = {"lm_head", "vision_model"};
  options.max_shard_size = 20000;
  quantize_checkpoint(golden::models_dir() / "interval_three", out, options);
  CHECK(read_json_file(out / "config.json")["quantization_config"] ==
        read_json_file(folder() / "no_outliers" / "config.json")["quantization_config"]);
  auto ours = Model::from_pretrained(out.string());
  auto saved = Model::from_pretrained((folder() / "no_outliers").string());
  for (const Case& one : cases_of("no_outliers"))
    CHECK(bytes_of(ours.forward(one.inputs).logits) == bytes_of(saved.forward(one.inputs).logits));
}
