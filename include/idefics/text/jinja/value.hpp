// Values of templates: those of Python that a template can see. All but namespaces are immutable,
// because transformers renders in jinja2's immutable sandbox; so values are shared, never copied.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <idefics/text/jinja/rendering.hpp>
#include <idefics/text/jinja/unicode.hpp>

namespace idefics { inline namespace v0 { namespace detail { namespace jinja {

/// What is larger than a number. Counts the references to itself and the memory of the rendering.
class Object {
 public:
  Object(Rendering& r, std::size_t bytes, int depth) : rendering_(r), depth_(depth) {
    r.require_depth(depth);
    grow(bytes + allocation);
  }
  virtual ~Object() { rendering_.release(bytes_); }
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;

  Rendering& rendering() const { return rendering_; }
  /// How many levels of objects contain each other here, this one included.
  int depth() const { return depth_; }
  /// Forgets the values that it contains.
  virtual void empty() {}

 protected:
  void grow(std::size_t bytes) {
    rendering_.hold(bytes);
    bytes_ += bytes;
  }
  void contain(int depth) {
    rendering_.require_depth(depth + 1);
    depth_ = std::max(depth_, depth + 1);
  }

 private:
  template <class T>
  friend class Ref;
  friend Rendering;
  static constexpr std::size_t allocation = 16;  // what malloc adds

  Rendering& rendering_;
  std::size_t bytes_ = 0;
  std::uint32_t references_ = 0;
  int depth_;
};

template <class T>
class Ref {
 public:
  Ref() = default;
  explicit Ref(T* object) : object_(object) { acquire(); }
  Ref(const Ref& other) : object_(other.object_) { acquire(); }
  Ref(Ref&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  template <class U>
  requires std::derived_from<U, T> Ref(const Ref<U>& other) : object_(other.get()) { acquire(); }
  template <class U>
  requires std::derived_from<U, T> Ref(Ref<U>&& other)
  noexcept : object_(std::exchange(other.object_, nullptr)) {}
  Ref& operator=(Ref other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~Ref() {
    if (object_ != nullptr) release(object_);
  }

  T* get() const { return object_; }
  T& operator*() const { return *object_; }
  T* operator->() const { return object_; }
  explicit operator bool() const { return object_ != nullptr; }

 private:
  template <class U>
  friend class Ref;
  friend Rendering;
  void acquire() {
    if (object_ != nullptr) ++object_->references_;
  }
  /// Not inlined: GCC 12 would take two references to an object for a use after its deletion.
  [[gnu::noinline]] static void release(T* object) noexcept {
    if (--object->references_ == 0) delete object;
  }
  T* object_ = nullptr;
};

inline Rendering::~Rendering() {
  for (Object* object : lasting_) object->empty();
  for (Object* object : lasting_) Ref<Object>::release(object);
}
inline void Rendering::keep(Object& object) {
  lasting_.push_back(&object);
  ++object.references_;
}

template <class T, class... Parts>
Ref<T> make(Rendering& r, Parts&&... parts) {
  return Ref<T>(new T(r, std::forward<Parts>(parts)...));
}

struct Text;
struct List;
class Dict;
class Thing;

enum class Kind : std::uint8_t {
  undefined,
  none,
  boolean,
  integer,
  real,
  text,
  list,
  tuple,
  dict,
  thing,  // all others: functions, iterators, namespaces
};

/// A value. An undefined one may have a text that says what is missing.
class Value {
 public:
  Value() = default;
  static Value none() { return Value(Kind::none); }
  static Value boolean(bool value) {
    Value v(Kind::boolean);
    v.scalar_.integer = value ? 1 : 0;
    return v;
  }
  static Value integer(std::int64_t value) {
    Value v(Kind::integer);
    v.scalar_.integer = value;
    return v;
  }
  static Value real(double value) {
    Value v(Kind::real);
    v.scalar_.real = value;
    return v;
  }
  static Value text(Rendering& r, std::string value, bool safe = false);
  static Value list(Rendering& r, std::vector<Value> items);
  static Value tuple(Rendering& r, std::vector<Value> items);
  static Value undefined(Rendering& r, std::string why);
  Value(Ref<Dict> dict);
  template <class T>
  requires std::derived_from<T, Thing> Value(Ref<T> thing)
      : kind_(Kind::thing), object_(std::move(thing)) {}

  Kind kind() const { return kind_; }
  bool is(Kind kind) const { return kind_ == kind; }
  bool is_none() const { return is(Kind::none); }
  bool is_text() const { return is(Kind::text); }
  /// Booleans are integers, as in Python.
  bool is_integer() const { return is(Kind::integer) || is(Kind::boolean); }
  bool is_number() const { return is_integer() || is(Kind::real); }
  bool is_sequence() const { return is(Kind::list) || is(Kind::tuple); }

  bool truth() const { return scalar_.integer != 0; }  // of a boolean
  std::int64_t integer() const { return scalar_.integer; }
  double real() const { return is(Kind::real) ? scalar_.real : static_cast<double>(integer()); }
  const Text& text() const;
  const std::string& bytes() const;         // of a text
  const std::vector<Value>& items() const;  // of a list or tuple
  Dict& dict() const;
  Thing& thing() const;
  const Object* object() const { return object_.get(); }
  int depth() const { return object_ ? object_->depth() : 0; }
  /// What an operation on this undefined value has to say.
  std::string why_undefined() const;

 private:
  explicit Value(Kind kind) : kind_(kind) {}
  Value(Kind kind, Ref<Object> object) : kind_(kind), object_(std::move(object)) {}

  Kind kind_ = Kind::undefined;
  union {
    std::int64_t integer = 0;
    double real;
  } scalar_;
  Ref<Object> object_;
};

/// str, in UTF-8. A safe one is markupsafe's Markup: what HTML escaping leaves alone.
struct Text final : Object {
  Text(Rendering& r, std::string text, bool is_safe)
      : Object(r, sizeof(Text) + text.capacity(), 1),
        bytes(std::move(text)),
        length(count_characters(bytes)),
        safe(is_safe) {
    r.read(bytes.size());
  }
  /// Whether a character is a byte.
  bool ascii() const { return length == bytes.size(); }

  const std::string bytes;
  const std::size_t length;  // in characters
  const bool safe;
};

inline int depth_of(const std::vector<Value>& items) {
  int depth = 0;
  for (const Value& item : items) depth = std::max(depth, item.depth());
  return depth;
}

/// list and tuple.
struct List final : Object {
  List(Rendering& r, std::vector<Value> values)
      : Object(r, sizeof(List) + values.capacity() * sizeof(Value), depth_of(values) + 1),
        items(std::move(values)) {
    r.step(items.size());
  }
  const std::vector<Value> items;
};

/// dict, in the order of insertion. Complete before any template sees it.
class Dict final : public Object {
 public:
  struct Entry {
    Value key, value;
  };

  explicit Dict(Rendering& r) : Object(r, sizeof(Dict), 1) {}

  const std::vector<Entry>& entries() const { return entries_; }
  /// The value of a key, or null. Keys that are not hashable fail.
  const Value* find(const Value& key) const;
  const Value* find(std::string_view key) const;
  void set(const Value& key, Value value);

 private:
  std::vector<Entry> entries_;
};

/// What a call passes.
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

class Iterator;

/// A value with behaviour of its own.
class Thing : public Object {
 public:
  using Object::Object;

  /// Python's name of its type.
  virtual std::string_view type_name() const = 0;
  virtual std::optional<Value> attribute(std::string_view) { return std::nullopt; }
  /// Null where Python's subscript raises.
  virtual std::optional<Value> item(const Value&) { return std::nullopt; }
  virtual bool callable() const { return false; }
  inline virtual Value call(Arguments&);
  /// Null if it is not iterable.
  virtual Ref<Iterator> iterate() { return {}; }
  virtual std::optional<std::int64_t> length() { return std::nullopt; }
  virtual bool equals(const Thing& other) { return this == &other; }
  virtual bool subscriptable() const { return false; }
  /// Fails for those that Python prints with their address in memory.
  virtual void print(Buffer&) {
    rendering().fail("a " + std::string(type_name()) + " has no text; " +
                     "an iterator becomes a list by the filter list");
  }
};

/// A generator or another iterator: can be walked once.
class Iterator : public Thing {
 public:
  using Thing::Thing;
  std::string_view type_name() const override { return "generator"; }
  Ref<Iterator> iterate() override { return Ref<Iterator>(this); }
  virtual std::optional<Value> next() = 0;
};

inline Value Value::text(Rendering& r, std::string value, bool safe) {
  return {Kind::text, make<Text>(r, std::move(value), safe)};
}
inline Value Value::list(Rendering& r, std::vector<Value> items) {
  return {Kind::list, make<List>(r, std::move(items))};
}
inline Value Value::tuple(Rendering& r, std::vector<Value> items) {
  return {Kind::tuple, make<List>(r, std::move(items))};
}
inline Value Value::undefined(Rendering& r, std::string why) {
  return {Kind::undefined, make<Text>(r, std::move(why), false)};
}
inline Value::Value(Ref<Dict> dict) : Value(Kind::dict, dict) {}

inline const Text& Value::text() const { return static_cast<const Text&>(*object_); }
inline const std::string& Value::bytes() const { return text().bytes; }
inline const std::vector<Value>& Value::items() const {
  return static_cast<const List&>(*object_).items;
}
inline Dict& Value::dict() const { return static_cast<Dict&>(*object_); }
inline Thing& Value::thing() const { return static_cast<Thing&>(*object_); }
inline std::string Value::why_undefined() const {
  return object_ ? text().bytes : "a value is undefined";
}

inline std::string_view type_name(const Value& value) {
  switch (value.kind()) {
    case Kind::undefined: return "Undefined";
    case Kind::none: return "NoneType";
    case Kind::boolean: return "bool";
    case Kind::integer: return "int";
    case Kind::real: return "float";
    case Kind::text: return value.text().safe ? "Markup" : "str";
    case Kind::list: return "list";
    case Kind::tuple: return "tuple";
    case Kind::dict: return "dict";
    case Kind::thing: return value.thing().type_name();
  }
  return "object";
}

inline Value Thing::call(Arguments&) {
  rendering().fail("'" + std::string(type_name()) + "' object is not callable");
}

/// A list that is being built.
class Items {
 public:
  explicit Items(Rendering& r) : rendering_(r), held_(r) {}
  void push(Value value) {
    rendering_.step();
    held_.grow_to((items_.size() + 1) * sizeof(Value));
    items_.push_back(std::move(value));
  }
  std::size_t size() const { return items_.size(); }
  std::vector<Value> take() {
    held_.release();
    return std::exchange(items_, {});
  }
  Value list() { return Value::list(rendering_, take()); }

 private:
  Rendering& rendering_;
  Held held_;
  std::vector<Value> items_;
};

}}}}  // namespace idefics::v0::detail::jinja
