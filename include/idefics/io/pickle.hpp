// Reads a pickle as data. A pickle is a program for a stack machine. The few instructions that a
// dict of weights needs are executed here, on values that represent the objects Python would build.
// Only the names of a fixed list can be called, and a call merely records its arguments: nothing is
// looked up, imported or run. Every other instruction and every other name is refused.
//
// Sources: CPython's pickletools (the instructions), torch/_utils.py (what the names mean).
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <idefics/core/error.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// Represents an object that Python would build.
struct PickleValue {
  enum class Kind : std::uint8_t {
    none,
    boolean,
    integer,
    real,  // the value is not kept
    text,
    name,     // `number` is its index in pickle_names
    tuple,    // `number` is its index in Pickle::sequences, also for the kinds below
    dict,     // keys and values alternate
    storage,  // a persistent id: identifies the bytes of a tensor
    tensor,   // the arguments of torch._utils._rebuild_tensor_v2
  };
  Kind kind = Kind::none;
  std::int64_t number = 0;
  std::string_view text{};  // points into the pickle
};

struct Pickle {
  PickleValue root;
  std::deque<std::vector<PickleValue>> sequences;

  const std::vector<PickleValue>& items(const PickleValue& value) const {
    return sequences[static_cast<std::size_t>(value.number)];
  }
};

/// A name that a pickle of weights may contain.
struct PickleName {
  std::string_view module, name;
  enum class Use { make_dict, make_tensor, make_parameter, storage } use;
  std::string_view dtype{};  // of a storage, as safetensors spells it
};

inline constexpr PickleName pickle_names[] = {
    {"collections", "OrderedDict", PickleName::Use::make_dict},
    {"torch._utils", "_rebuild_tensor", PickleName::Use::make_tensor},
    {"torch._utils", "_rebuild_tensor_v2", PickleName::Use::make_tensor},
    {"torch._utils", "_rebuild_parameter", PickleName::Use::make_parameter},
    {"torch", "FloatStorage", PickleName::Use::storage, "F32"},
    {"torch", "HalfStorage", PickleName::Use::storage, "F16"},
    {"torch", "BFloat16Storage", PickleName::Use::storage, "BF16"},
    {"torch", "DoubleStorage", PickleName::Use::storage, "F64"},
    {"torch", "LongStorage", PickleName::Use::storage, "I64"},
    {"torch", "IntStorage", PickleName::Use::storage, "I32"},
    {"torch", "ShortStorage", PickleName::Use::storage, "I16"},
    {"torch", "CharStorage", PickleName::Use::storage, "I8"},
    {"torch", "ByteStorage", PickleName::Use::storage, "U8"},
    {"torch", "BoolStorage", PickleName::Use::storage, "BOOL"},
};

inline constexpr std::size_t max_pickle_values = 1 << 20;  // a tensor needs thirty

class Unpickler {
 public:
  using Kind = PickleValue::Kind;

  /// `begin`: the offset of the pickle in the file that `where` names.
  Unpickler(std::string_view pickle, ErrorContext where, std::uint64_t begin)
      : pickle_(pickle), where_(std::move(where)), begin_(begin) {}

  Pickle read() {
    for (char op = '\0'; op != '.'; op = step()) continue;
    if (stack_.size() != 1 || !marks_.empty()) refuse("the pickle does not end with one value");
    if (at_ != pickle_.size()) refuse("there are bytes after the end of the pickle");
    result_.root = stack_.back();
    return std::move(result_);
  }

 private:
  [[noreturn]] void refuse(const std::string& why,
                           ErrorCode code = ErrorCode::invalid_torch_file) const {
    ErrorContext all = where_;
    all.offset = begin_ + op_at_;
    fail(code, why, all);
  }

  std::string_view take(std::uint64_t size) {
    if (size > pickle_.size() - at_) refuse("the pickle ends within an instruction");
    const std::string_view bytes = pickle_.substr(at_, static_cast<std::size_t>(size));
    at_ += bytes.size();
    return bytes;
  }
  /// A little-endian number of at most eight bytes.
  std::uint64_t unsigned_number(std::size_t size) {
    std::uint64_t value = 0;
    std::memcpy(&value, take(size).data(), size);
    return value;
  }
  std::int64_t signed_number(std::size_t size) {
    if (size == 0) return 0;
    const auto unused = static_cast<unsigned>(64 - 8 * size);
    return static_cast<std::int64_t>(unsigned_number(size) << unused) >> unused;
  }
  std::string_view line() {
    const auto end = pickle_.find('\n', at_);
    if (end == std::string_view::npos) refuse("the pickle ends within a name");
    const std::string_view text = take(end - at_);
    ++at_;
    return text;
  }

  // the stack; values below the last mark cannot be popped

  void count() {
    if (++count_ > max_pickle_values)
      refuse("the pickle builds more than " + std::to_string(max_pickle_values) + " values");
  }
  void push(PickleValue value) {
    count();
    stack_.push_back(value);
  }
  PickleValue pop() {
    if (stack_.size() <= floor()) refuse("an instruction needs more values than the stack has");
    const PickleValue value = stack_.back();
    stack_.pop_back();
    return value;
  }
  PickleValue pop(Kind kind, const char* what) {
    const PickleValue value = pop();
    if (value.kind != kind) refuse(std::string("expected ") + what);
    return value;
  }
  std::size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }

  std::vector<PickleValue> pop_last(std::size_t count) {
    if (stack_.size() - floor() < count)
      refuse("an instruction needs more values than the stack has");
    const auto first = stack_.end() - static_cast<std::ptrdiff_t>(count);
    std::vector<PickleValue> values(first, stack_.end());
    stack_.erase(first, stack_.end());
    return values;
  }
  std::vector<PickleValue> pop_to_mark() {
    if (marks_.empty()) refuse("an instruction needs a mark, and the stack has none");
    std::vector<PickleValue> values = pop_last(stack_.size() - floor());
    marks_.pop_back();
    return values;
  }
  PickleValue sequence(Kind kind, std::vector<PickleValue> values) {
    result_.sequences.push_back(std::move(values));
    return {kind, static_cast<std::int64_t>(result_.sequences.size()) - 1};
  }
  void push_sequence(Kind kind, std::vector<PickleValue> values) {
    push(sequence(kind, std::move(values)));
  }

  // the instructions

  char step() {
    op_at_ = at_;
    const char op = take(1)[0];
    if (!constant(op) && !container(op) && !memo(op) && !call(op) && op != '.') {
      char text[64];
      std::snprintf(text, sizeof text,
                    "the pickle uses instruction 0x%02x, which weights do not need",
                    static_cast<unsigned>(static_cast<unsigned char>(op)));
      refuse(text, ErrorCode::pickle_refused);
    }
    return op;
  }

  bool constant(char op) {
    switch (op) {
      case '\x80': take(1); return true;  // PROTO
      case 'N': push({}); return true;    // NONE
      case '\x88': push({Kind::boolean, 1}); return true;
      case '\x89': push({Kind::boolean, 0}); return true;
      case 'J': push({Kind::integer, signed_number(4)}); return true;
      case 'K': push({Kind::integer, static_cast<std::int64_t>(unsigned_number(1))}); return true;
      case 'M': push({Kind::integer, static_cast<std::int64_t>(unsigned_number(2))}); return true;
      case '\x8a': push({Kind::integer, long_number()}); return true;
      case 'G': take(8), push({Kind::real}); return true;
      case 'X': push({Kind::text, 0, take(unsigned_number(4))}); return true;  // BINUNICODE
      default: return false;
    }
  }
  std::int64_t long_number() {
    const std::uint64_t size = unsigned_number(1);
    if (size > 8) refuse("an integer has more than 64 bits");
    return signed_number(static_cast<std::size_t>(size));
  }

  bool container(char op) {
    switch (op) {
      case '(': count(), marks_.push_back(stack_.size()); return true;
      case ')': push_sequence(Kind::tuple, {}); return true;
      case 't': push_sequence(Kind::tuple, pop_to_mark()); return true;
      case '\x85': push_sequence(Kind::tuple, pop_last(1)); return true;
      case '\x86': push_sequence(Kind::tuple, pop_last(2)); return true;
      case '\x87': push_sequence(Kind::tuple, pop_last(3)); return true;
      case '}': push_sequence(Kind::dict, {}); return true;
      case 's': set_items(pop_last(2)); return true;
      case 'u': set_items(pop_to_mark()); return true;
      default: return false;
    }
  }
  void set_items(const std::vector<PickleValue>& items) {
    const PickleValue dict = pop(Kind::dict, "a dict");
    if (items.size() % 2 != 0) refuse("a key has no value");
    auto& all = result_.sequences[static_cast<std::size_t>(dict.number)];
    all.insert(all.end(), items.begin(), items.end());
    stack_.push_back(dict);
  }

  /// The memo: a value that was stored in it can be pushed again.
  bool memo(char op) {
    switch (op) {
      case 'q': remember(unsigned_number(1)); return true;
      case 'r': remember(unsigned_number(4)); return true;
      case 'h': recall(unsigned_number(1)); return true;
      case 'j': recall(unsigned_number(4)); return true;
      default: return false;
    }
  }
  void remember(std::uint64_t key) {
    const PickleValue value = pop();
    stack_.push_back(value);
    count();
    memo_[key] = value;
  }
  void recall(std::uint64_t key) {
    const auto found = memo_.find(key);
    if (found == memo_.end()) refuse("the memo has no such value");
    push(found->second);
  }

  bool call(char op) {
    switch (op) {
      case 'c': push({Kind::name, listed_name()}); return true;  // GLOBAL
      case 'Q': push({Kind::storage, pop(Kind::tuple, "a tuple").number}); return true;
      case 'R': reduce(); return true;
      case 'b': build(); return true;
      default: return false;
    }
  }
  std::int64_t listed_name() {
    const std::string_view module = line(), name = line();
    const auto* found = std::ranges::find_if(
        pickle_names, [&](const PickleName& n) { return n.module == module && n.name == name; });
    if (found == std::end(pickle_names))
      refuse("the pickle uses " + printable(module) + "." + printable(name) +
                 ", which weights do not need; nothing was executed",
             ErrorCode::pickle_refused);
    return found - pickle_names;
  }
  static std::string printable(std::string_view text) {
    std::string shown(text.substr(0, 100));
    std::ranges::replace_if(
        shown, [](char c) { return c < ' ' || c > '~'; }, '?');
    return shown;
  }

  void reduce() {
    const PickleValue arguments = pop(Kind::tuple, "the arguments of a call");
    const PickleValue name = pop(Kind::name, "a name to call");
    const auto& given = result_.items(arguments);
    switch (pickle_names[name.number].use) {
      case PickleName::Use::make_dict:
        if (!given.empty()) refuse("a dict is constructed with arguments");
        return push_sequence(Kind::dict, {});
      case PickleName::Use::make_tensor: return push({Kind::tensor, arguments.number});
      case PickleName::Use::make_parameter:
        if (given.empty() || given[0].kind != Kind::tensor)
          refuse("a parameter does not contain a tensor");
        return push(given[0]);
      case PickleName::Use::storage: refuse("a storage type is called", ErrorCode::pickle_refused);
    }
  }
  /// Drops the attributes of a dict: versions of modules, which do not affect weights.
  void build() {
    pop(Kind::dict, "the attributes of a dict");
    stack_.push_back(pop(Kind::dict, "a dict"));
  }

  std::string_view pickle_;
  ErrorContext where_;
  std::uint64_t begin_;
  std::size_t at_ = 0, op_at_ = 0, count_ = 0;
  std::vector<PickleValue> stack_;
  std::vector<std::size_t> marks_;
  std::map<std::uint64_t, PickleValue> memo_;
  Pickle result_;
};

/// Reads a pickle of weights, which begins at offset `begin` of the file that `where` names and
/// must outlive the result. Throws `pickle_refused` for an instruction or a name that weights do
/// not need, and `invalid_torch_file` for a pickle that is inconsistent or builds more than a
/// million values.
inline Pickle parse_pickle(std::string_view pickle, const ErrorContext& where,
                           std::uint64_t begin) {
  return Unpickler(pickle, where, begin).read();
}

}}}  // namespace idefics::v0::detail
