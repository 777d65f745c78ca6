// An operation is found under one stem everywhere. The headings of docs/kernels/ are the list of
// families: "# norm: rms_norm, layer_norm" in docs/kernels/norm.md.
#pragma once

#include "house/cpp_text.hpp"

namespace house {

/// The operations that a backend implements: the names behind "virtual ... do_".
inline std::vector<std::string> operations_of(const Tree& tree) {
  std::vector<std::string> operations;
  const std::string code = code_only(tree.text("include/idefics/backend/backend.hpp"));
  for (const std::string_view line : lines_of(code))
    if (trimmed(line).starts_with("virtual"))
      for (const std::string_view word : words_of(line))
        if (word.starts_with("do_")) operations.emplace_back(word.substr(3));
  return operations;
}

inline std::map<std::string, std::set<std::string>> families_of(const Tree& tree) {
  std::map<std::string, std::set<std::string>> families;
  for (const auto& [path, text] : tree.texts()) {
    const std::string_view stem = between(path, "docs/kernels/", ".md");
    if (stem.empty() || text.empty()) continue;
    for (const std::string_view word : words_of(lines_of(text).front()))
      families[std::string(stem)].insert(std::string(word));
  }
  return families;
}

inline Faults stems(const Tree& tree) {
  Faults faults;
  const auto families = families_of(tree);
  for (const std::string& operation : operations_of(tree))
    if (std::ranges::none_of(families, [&](const auto& f) { return f.second.contains(operation); }))
      faults.push_back("docs/kernels/: no page has " + operation + " in its heading");

  for (const auto& [stem, words] : families) {
    std::vector<std::string> places{"include/idefics/backend/reference/" + stem + ".hpp",
                                    "include/idefics/backend/cpu/" + stem + ".inl",
                                    "tests/parity/" + stem + ".cpp", "bench/" + stem + ".cpp"};
    for (const std::string& place : places)
      if (!tree.exists(place))
        faults.push_back(place + ": not there, and docs/kernels has its page");
    const auto is_its_kernel = [&](const auto& file) {
      return file.first.starts_with("cuda/" + stem);
    };
    if (tree.exists("cuda/cuda_backend.cu") && std::ranges::none_of(tree.texts(), is_its_kernel))
      faults.push_back("cuda/" + stem + "*.cuh: not there, and docs/kernels has its page");
    for (const std::string& operation : operations_of(tree))
      for (const std::string& place : {places[0], places[2]})
        if (words.contains(operation) && tree.text(place).find(operation) == std::string_view::npos)
          faults.push_back(place + ": says nothing of " + operation);
  }
  return faults;
}

}  // namespace house
