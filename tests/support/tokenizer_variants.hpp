// What can be seen of a tokenizer, as tests/reference/variants.py records it of the reference's.
#pragma once

#include <string>
#include <vector>

#include <idefics/io/json.hpp>
#include <idefics/text/tokenizer.hpp>

namespace testing {

using namespace idefics;
using Ids = std::vector<std::int32_t>;

/// The id of bos, eos, unk or pad.
inline Json id_of(const Tokenizer& tokenizer, std::size_t which) {
  try {
    return which == 0   ? tokenizer.bos_id()
           : which == 1 ? tokenizer.eos_id()
           : which == 2 ? tokenizer.unk_id()
                        : tokenizer.pad_id();
  } catch (const Error&) {
    return "none";
  }
}

inline Json observed(const Tokenizer& tokenizer) {
  Json special = Json::array(), ids = Json::array(), added = Json::array();
  for (const char* name : {"bos_token", "eos_token", "unk_token", "pad_token"}) {
    const auto token = tokenizer.special_token(name);
    special.push_back(token ? Json(*token) : Json());
    ids.push_back(!token ? Json() : id_of(tokenizer, ids.size()));
  }
  for (const AddedToken& t : tokenizer.added_tokens())
    added.push_back({t.id, t.content, int{t.single_word}, int{t.lstrip}, int{t.rstrip},
                     int{t.normalized}, int{t.special}});
  const auto length = tokenizer.model_max_length();
  return {{"special", special},
          {"ids", ids},
          {"added", added},
          {"sides",
           {tokenizer.padding_side() == PaddingSide::left ? "left" : "right",
            tokenizer.truncation_side() == TruncationSide::left ? "left" : "right"}},
          {"max_length", length ? Json(*length) : Json()}};
}

inline Json observed(const Tokenizer& tokenizer, const std::string& text, const Ids& others) {
  const Ids ids = tokenizer.encode(text);
  Json row{text, ids, tokenizer.encode(text, {.add_special_tokens = true})};
  for (const Ids& each : {ids, others}) {
    row.push_back(tokenizer.decode(each));
    row.push_back(tokenizer.decode(each, {.skip_special_tokens = true}));
  }
  return row;
}

/// Where a tokenizer differs from the record; "" if it does not. A row of a text alone is one over
/// which the reference breaks down.
inline std::string difference(const Tokenizer& tokenizer, const Json& seen) {
  if (seen.is_null()) return "";  // nothing to compare with
  const auto differ = [](const Json& ours, const Json& theirs) {
    return ours.dump() + " is not " + theirs.dump();
  };
  const Json ours = observed(tokenizer);
  for (const auto& [key, value] : ours.items())
    if (value != seen[key]) return key + ": " + differ(value, seen[key]);
  for (const Json& token : seen["additional"])
    if (!tokenizer.has_special(token.get<std::string>())) return "additional: " + token.dump();
  const Ids others = seen["others"].get<Ids>();
  for (const Json& row : seen["rows"])
    if (row.size() > 1)
      if (const Json found = observed(tokenizer, row[0].get<std::string>(), others); found != row)
        return differ(found, row);
  return "";
}

}  // namespace testing
