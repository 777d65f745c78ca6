// Values put into a text: text % values and text.format(values). What templates use of it is here:
// %s, %r, %d, %(name)s and %%; {}, {0}, {name}, {{ and }}. Widths, precisions, other conversions
// and look-ups within a field are refused.
#pragma once

#include <charconv>
#include <optional>
#include <string>
#include <string_view>

#include <idefics/text/jinja/compare.hpp>
#include <idefics/text/jinja/print.hpp>

namespace idefics { inline namespace v0 { namespace detail { namespace jinja {

/// One evaluation of text % values.
class PercentFormat {
 public:
  PercentFormat(Rendering& r, const Value& values)
      : rendering_(r),
        out_(r),
        values_(values),
        mapping_(values.is(Kind::dict) ? &values.dict() : nullptr) {}

  std::string run(std::string_view format) {
    for (std::size_t at = 0; at < format.size();) {
      const std::size_t percent = std::min(format.find('%', at), format.size());
      out_.append(format.substr(at, percent - at));
      if ((at = percent) == format.size()) break;
      if (++at == format.size()) rendering_.fail("incomplete format");
      std::optional<Value> value;
      if (format[at] == '(') value = keyed(format, at);
      if (at == format.size()) rendering_.fail("incomplete format key");
      convert(format[at++], value);
    }
    const std::size_t given = values_.is(Kind::tuple) ? values_.items().size() : 1;
    if (mapping_ == nullptr && next_ < given)
      rendering_.fail("not all arguments converted during string formatting");
    return out_.take();
  }

 private:
  Value keyed(std::string_view format, std::size_t& at) {
    if (mapping_ == nullptr) rendering_.fail("format requires a mapping");
    const std::size_t end = std::min(format.find(')', at), format.size());
    const std::string_view key = format.substr(at + 1, end - at - 1);
    if (key.find('(') != std::string_view::npos) rendering_.unsupported("a ( in a format key");
    at = std::min(end + 1, format.size());
    const Value* found = mapping_->find(key);
    if (found == nullptr) rendering_.fail("the mapping lacks " + std::string(key.substr(0, 200)));
    return *found;
  }
  Value next() {
    const bool many = values_.is(Kind::tuple);
    if (next_ >= (many ? values_.items().size() : 1))
      rendering_.fail("not enough arguments for format string");
    ++next_;
    return many ? values_.items()[next_ - 1] : values_;
  }
  void convert(char letter, std::optional<Value> value) {
    rendering_.step();
    if (letter == '%') return out_.append("%");
    if (letter != 's' && letter != 'r' && letter != 'd')
      rendering_.unsupported(std::string("the conversion %") + letter);
    if (!value) value = next();
    if (letter == 's' && value->is_text() && value->text().safe)
      rendering_.unsupported("a safe text among the arguments of %");
    if (letter == 's') return print_str(out_, *value);
    if (letter == 'r') return print_repr(out_, *value);
    if (!value->is_number())
      rendering_.fail("%d format: a real number is required, not " +
                      std::string(type_name(*value)));
    out_.append(std::to_string(value->is_integer() ? value->integer()
                                                   : integer_of_real(rendering_, value->real())));
  }

  Rendering& rendering_;
  Buffer out_;
  const Value& values_;
  const Dict* mapping_;
  std::size_t next_ = 0;
};

inline Value percent_format(Rendering& r, const Value& text, const Value& values) {
  if (text.text().safe) r.unsupported("% of a safe text");
  return Value::text(r, PercentFormat(r, values).run(text.bytes()));
}

/// The argument that a field of a format names: by its number, by its name, or the next one.
inline const Value& field_value(Rendering& r, std::string_view field, const Arguments& given,
                                std::optional<bool>& automatic, std::size_t& next) {
  std::size_t number = 0;
  const auto end = std::from_chars(field.data(), field.data() + field.size(), number);
  const bool numbered = !field.empty() && end.ptr == field.data() + field.size();
  if (field.empty() || numbered) {
    if (automatic.value_or(!numbered) == numbered)
      r.fail("cannot switch between automatic field numbering and manual field specification");
    automatic = !numbered;
    if (!numbered) number = next++;
    if (end.ec == std::errc::result_out_of_range || number >= given.positional.size())
      r.fail("replacement index out of range for positional args tuple");
    return given.positional[number];
  }
  for (const auto& [name, value] : given.named)
    if (name == field) return value;
  if (field.find_first_of(".[:!") != std::string_view::npos)
    r.unsupported("the format field {" + std::string(field.substr(0, 40)) + "}");
  r.fail("no argument is named '" + std::string(field.substr(0, 200)) + "'");
}

/// text.format(*positional, **named)
inline Value brace_format(Rendering& r, const Value& text, const Arguments& given) {
  if (text.text().safe) r.unsupported("format() of a safe text");
  const std::string_view format = text.bytes();
  Buffer out(r);
  std::optional<bool> automatic;  // whether fields are numbered, once there was one
  std::size_t next = 0;
  for (std::size_t at = 0; at < format.size();) {
    const std::size_t brace = std::min(format.find_first_of("{}", at), format.size());
    out.append(format.substr(at, brace - at));
    if (brace == format.size()) break;
    at = brace + 1;
    if (at < format.size() && format[at] == format[brace]) {
      out.append(format.substr(at++, 1));
      continue;
    }
    if (format[brace] == '}') r.fail("Single '}' encountered in format string");
    const std::size_t end = format.find_first_of("{}", at);
    if (end == std::string_view::npos) r.fail("expected '}' before end of string");
    if (format[end] == '{') r.unsupported("a format field within another");
    r.step();
    print_str(out, field_value(r, format.substr(at, end - at), given, automatic, next));
    at = end + 1;
  }
  return Value::text(r, out.take());
}

}}}}  // namespace idefics::v0::detail::jinja
