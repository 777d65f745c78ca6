// The tensors that bitsandbytes stores in a safetensors file for a 4-bit tensor NAME.
//
//   NAME                                 [bytes / storage, 1]  codes: u8, or another dtype's bytes
//   NAME.absmax                          [blocks]              f32; u8 when doubly quantized
//   NAME.quant_map                       [16]                  f32, the value of each code
//   NAME.nested_absmax                   [blocks / 256]        f32, when doubly quantized
//   NAME.nested_quant_map                [256]                 f32, when doubly quantized
//   NAME.quant_state.bitsandbytes__TYPE  [length]              u8: the JSON of BnbState
//
// Source: bitsandbytes 0.50.2, QuantState.as_dict(packed=True) and from_dict. Tensors are accepted
// only if they agree with each other, with the codebooks and with the supported block sizes.
#pragma once

#include <charconv>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <idefics/io/checkpoint.hpp>
#include <idefics/io/json.hpp>
#include <idefics/quant/blockwise.hpp>

namespace idefics { inline namespace v0 {

/// The contents of the JSON of a quant state.
struct BnbState {
  QuantType type = QuantType::fp4;
  std::int64_t blocksize = 64;
  DType dtype = DType::f16;  // of the tensor before quantization
  Shape shape{0};
  std::optional<float> nested_offset{};  // when doubly quantized
};

namespace detail {

inline constexpr std::string_view bnb_state_prefix = ".quant_state.bitsandbytes__";
inline constexpr std::size_t max_bnb_json = 4096;

/// torch's names of the dtypes of weights.
inline constexpr std::pair<std::string_view, DType> torch_dtypes[] = {
    {"float32", DType::f32}, {"float16", DType::f16}, {"bfloat16", DType::bf16}};

constexpr std::string_view torch_name_of(DType dtype) {
  for (const auto& [name, known] : torch_dtypes)
    if (known == dtype) return name;
  return "";
}

/// Formats a float as Python does: shortest digits that round-trip, an exponent outside 1e-4..1e16.
inline std::string python_float(double value) {
  char text[32];
  const double size = std::abs(value);
  const bool plain = size == 0 || (size >= 1e-4 && size < 1e16);
  const auto format = plain ? std::chars_format::fixed : std::chars_format::scientific;
  std::string digits(text, std::to_chars(text, text + sizeof text, value, format).ptr);
  if (plain && digits.find('.') == std::string::npos) digits += ".0";
  return digits;
}

/// Reads the JSON of a quant state; every error names file, tensor and key.
class BnbStateReader {
 public:
  BnbStateReader(std::string_view text, const ErrorContext& where) : where_(where) {
    if (text.size() > max_bnb_json)
      refuse("quant_state", "the JSON is too long for a quant state", text.size(), max_bnb_json);
    try {
      document_ = parse_document(text, where.file, {.bytes = max_bnb_json, .depth = 4});
    } catch (const Error& error) {
      ErrorContext all = error.context();
      all.tensor = where.tensor;
      all.field = "quant_state";
      fail(error.code(), "the quant state is not valid JSON", all);
    }
    if (!json_.is_object()) refuse("quant_state", "the JSON is not an object");
  }

  bool has(const char* key) const { return json_.contains(key) && !json_[key].is_null(); }

  std::string text(const char* key) const {
    if (!has(key) || !json_[key].is_string()) refuse(key, "must be a string");
    return json_[key].get<std::string>();
  }
  std::int64_t integer(const char* key) const {
    if (!has(key)) refuse(key, "is missing");
    return as_integer(json_[key], key);
  }
  float number(const char* key) const {
    if (!has(key) || !json_[key].is_number()) refuse(key, "must be a number");
    const auto value = static_cast<float>(json_[key].get<double>());
    if (!std::isfinite(value)) refuse(key, "must be finite");
    return value;
  }
  DType dtype(const char* key) const {
    const std::string name = text(key);
    for (const auto& [known, dtype] : torch_dtypes)
      if (known == name) return dtype;
    refuse(key, "must be float32, float16 or bfloat16");
  }
  Shape shape(const char* key) const {
    if (!has(key) || !json_[key].is_array()) refuse(key, "must be a list of sizes");
    if (json_[key].size() > Shape::max_rank)
      refuse(key, "has too many dimensions", json_[key].size(), Shape::max_rank);
    std::vector<std::int64_t> dims;
    for (const Json& dim : json_[key]) dims.push_back(as_integer(dim, key));
    const Shape shape{std::span<const std::int64_t>(dims)};
    try {
      (void)shape.count();
    } catch (const Error& error) {
      ErrorContext all = where_;
      all.field = key;
      fail(error.code(), "the number of elements does not fit in 64 bits", all);
    }
    return shape;
  }

  [[noreturn]] void refuse(const char* field, const std::string& why,
                           std::optional<std::uint64_t> actual = {},
                           std::optional<std::uint64_t> limit = {}) const {
    ErrorContext all = where_;
    all.field = field, all.actual = actual, all.limit = limit;
    fail(ErrorCode::invalid_quant_state, why, all);
  }

 private:
  std::int64_t as_integer(const Json& value, const char* key) const {
    if (!value.is_number_unsigned() || value.get<std::uint64_t>() > max_integer)
      refuse(key, "must be an unsigned integer up to 2^48", {}, max_integer);
    return value.get<std::int64_t>();
  }

  ErrorContext where_;
  JsonDocument document_;
  const Json& json_ = *document_;
};

/// Parses the JSON of a quant state; `type` is the one in the name of its tensor, and errors name
/// the file and tensor of `where`. Throws `invalid_quant_state`, `invalid_json`, `duplicate_key`,
/// `arithmetic_overflow`.
inline BnbState parse_bnb_state(std::string_view text, QuantType type, const ErrorContext& where) {
  const BnbStateReader json(text, where);
  if (json.text("quant_type") != name_of(type))
    json.refuse("quant_type", "the JSON and the name of its tensor have different types");
  BnbState state{.type = type,
                 .blocksize = json.integer("blocksize"),
                 .dtype = json.dtype("dtype"),
                 .shape = json.shape("shape")};
  if (!is_blocksize(state.blocksize))
    json.refuse("blocksize", "a block size is a power of two from 32 to 4096",
                static_cast<std::uint64_t>(state.blocksize), max_blocksize);
  if (state.shape.count() == 0) json.refuse("shape", "the tensor is empty");
  if (!json.has("nested_offset") && !json.has("nested_blocksize")) return state;
  if (const auto size = json.integer("nested_blocksize"); size != NestedConstants::blocksize)
    json.refuse("nested_blocksize", "nested blocks must have 256 constants",
                static_cast<std::uint64_t>(size), NestedConstants::blocksize);
  if (json.dtype("nested_dtype") != DType::f32)
    json.refuse("nested_dtype", "nested constants must be float32");
  state.nested_offset = json.number("nested_offset");
  return state;
}

/// The JSON of a quant state, byte for byte as Python writes it.
inline std::string bnb_state_json(const QuantizedTensor& q) {
  std::string shape = q.shape.to_string();
  std::string text = R"({"quant_type": ")" + std::string(name_of(q.type)) + R"(", "blocksize": )" +
                     std::to_string(q.blocksize) + R"(, "dtype": ")" +
                     std::string(torch_name_of(q.dtype)) + R"(", "shape": )" + shape;
  if (q.double_quant())
    text += R"(, "nested_blocksize": )" + std::to_string(NestedConstants::blocksize) +
            R"(, "nested_dtype": "float32", "nested_offset": )" +
            python_float(static_cast<double>(q.nested.offset));
  return text + "}";
}

/// The names of tensors that can accompany a 4-bit tensor.
inline std::vector<std::string> bnb_companions(const std::string& name) {
  const std::string state = name + std::string(bnb_state_prefix);
  return {name + ".absmax",           name + ".quant_map", name + ".nested_absmax",
          name + ".nested_quant_map", state + "nf4",       state + "fp4"};
}

/// Whether the tensor `name` of a checkpoint is in 4 bits: a part of a quant state accompanies it.
inline bool is_bnb(const Checkpoint& checkpoint, const std::string& name) {
  for (const std::string& companion : bnb_companions(name))
    if (checkpoint.find(companion) != nullptr) return true;
  return false;
}

/// Reads the parts of one tensor and checks them against its state.
class BnbReader {
 public:
  BnbReader(const Checkpoint& checkpoint, const std::string& name)
      : checkpoint_(checkpoint), name_(name) {}

  QuantizedTensor read() {
    const BnbState state = read_state();
    QuantizedTensor q{.type = state.type,
                      .blocksize = state.blocksize,
                      .dtype = state.dtype,
                      .shape = state.shape};
    q.codes = codes((q.count() + 1) / 2);
    check_table("quant_map", part("quant_map", DType::f32, 16), codebook(q.type));
    for (const char* companion : {"nested_absmax", "nested_quant_map"})
      if (!state.nested_offset && checkpoint_.find(name_ + "." + companion) != nullptr)
        refuse(companion, "there are nested constants that the JSON does not mention");
    q.absmax = part("absmax", state.nested_offset ? DType::u8 : DType::f32, q.blocks());
    if (state.nested_offset) {
      q.nested.offset = *state.nested_offset;
      q.nested.absmax = owned(part("nested_absmax", DType::f32, (q.blocks() + 255) / 256));
      q.nested.map = owned(part("nested_quant_map", DType::f32, 256));
      check_table("nested_quant_map", q.nested.map, dynamic_map());
    }
    return q;
  }

 private:
  [[noreturn]] void refuse(const std::string& field, const std::string& why,
                           std::optional<std::uint64_t> actual = {},
                           std::optional<std::uint64_t> limit = {}) const {
    fail(ErrorCode::invalid_quant_state, why,
         {.file = checkpoint_.file_of(name_).string(),
          .tensor = name_,
          .field = field,
          .actual = actual,
          .limit = limit});
  }

  BnbState read_state() const {
    const std::string prefix = name_ + std::string(bnb_state_prefix);
    const bool nf4 = checkpoint_.find(prefix + "nf4") != nullptr;
    const bool fp4 = checkpoint_.find(prefix + "fp4") != nullptr;
    if (nf4 == fp4) refuse("quant_state", nf4 ? "there are two quant states" : "is missing");
    const std::string state = prefix + (nf4 ? "nf4" : "fp4");
    const Tensor bytes = checkpoint_.bytes(state);
    const std::string text(reinterpret_cast<const char*>(bytes.raw()),
                           std::min<std::size_t>(bytes.bytes(), max_bnb_json + 1));
    return parse_bnb_state(text, nf4 ? QuantType::nf4 : QuantType::fp4,
                           {.file = checkpoint_.file_of(state).string(), .tensor = name_});
  }

  /// u8 [bytes], for any dtype that they are stored as.
  Tensor codes(std::int64_t bytes) const {
    static constexpr std::string_view storages[] = {"U8", "I8", "F16", "BF16", "F32", "F64"};
    const TensorInfo* info = checkpoint_.find(name_);
    if (std::ranges::find(storages, info->dtype_name) == std::end(storages))
      refuse("quant_storage", "codes cannot be stored as " + info->dtype_name);
    Tensor all = checkpoint_.bytes(name_);
    if (all.count() != bytes)
      refuse("shape", "the codes must have one byte for every two values",
             static_cast<std::uint64_t>(all.count()), static_cast<std::uint64_t>(bytes));
    if (info->dims.size() != 2 || info->dims[1] != 1)
      refuse("weight", "the codes must have the shape [n, 1]");
    return all;
  }

  /// The tensor NAME.`companion`, [count].
  Tensor part(const std::string& companion, DType dtype, std::int64_t count) const {
    const std::string full_name = name_ + "." + companion;
    const TensorInfo* info = checkpoint_.find(full_name);
    if (info == nullptr) refuse(companion, "is missing");
    if (info->dtype != dtype)
      refuse(companion, "has dtype " + info->dtype_name + ", not " + std::string(name_of(dtype)));
    if (info->dims != std::vector<std::int64_t>{count})
      refuse(companion, "must be one-dimensional and of the expected size",
             info->dims.empty() ? 0 : info->dims[0], static_cast<std::uint64_t>(count));
    return checkpoint_.tensor(full_name);
  }

  /// A copy with the alignment that f32 needs.
  static Tensor owned(const Tensor& view) {
    Tensor copy = Tensor::empty(view.dtype(), view.shape());
    std::memcpy(copy.raw_mutable(), view.raw(), view.bytes());
    return copy;
  }

  template <std::size_t n>
  void check_table(const char* field, const Tensor& stored, const std::array<float, n>& table) {
    for (std::size_t i = 0; i < n; ++i) {
      const float value = element_as_f32(stored, static_cast<std::int64_t>(i));
      if (!(std::abs(value - table[i]) <= 1e-6f))
        refuse(field, "the values are not those of the type", i, n);
    }
  }

  const Checkpoint& checkpoint_;
  const std::string& name_;
};

/// The 4-bit tensor `name` (including ".weight"); codes and absmax stay in the mapping. Throws
/// `invalid_quant_state` and what parse_bnb_state throws, naming file, tensor and field.
inline QuantizedTensor read_bnb(const Checkpoint& checkpoint, const std::string& name) {
  return BnbReader(checkpoint, name).read();
}

/// The tensors that store `q` under `name`, the JSON last.
inline std::vector<NamedTensor> bnb_tensors(const std::string& name, const QuantizedTensor& q) {
  const auto table = [](const auto& values) {
    Tensor t = Tensor::empty(DType::f32, {std::ssize(values)});
    std::ranges::copy(values, t.as_mutable<float>().begin());
    return t;
  };
  std::vector<NamedTensor> parts{{name, q.codes.reshape({q.codes.count(), 1})},
                                 {name + ".absmax", q.absmax},
                                 {name + ".quant_map", table(codebook(q.type))}};
  if (q.double_quant()) {
    parts.push_back({name + ".nested_absmax", q.nested.absmax});
    parts.push_back({name + ".nested_quant_map", q.nested.map});
  }
  const std::string text = bnb_state_json(q);
  Tensor json = Tensor::empty(DType::u8, {std::ssize(text)});
  std::memcpy(json.raw_mutable(), text.data(), text.size());
  parts.push_back({name + std::string(bnb_state_prefix) + std::string(name_of(q.type)), json});
  return parts;
}

}  // namespace detail

}}  // namespace idefics::v0
