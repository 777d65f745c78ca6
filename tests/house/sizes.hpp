// What a reader must take in: lines of a file, of a function, and of all that a file includes.
#pragma once

#include "house/cpp_text.hpp"

namespace house {

inline constexpr std::size_t max_file = 400;
inline constexpr std::size_t max_function = 80;
inline constexpr std::size_t usual_function = 40;  // nine of ten stay below
inline constexpr std::size_t max_model_folder = 2000;
inline constexpr std::size_t max_model_page = 5000;  // model/idefics.hpp with all it includes
// A kernel file with all it includes. For kernels.inl, that is every kernel of a CPU: 23 operations,
// and products in three orders, each with a kernel for few rows, one for many, and some between.
inline constexpr std::size_t max_kernel = 2500;
inline constexpr std::size_t max_cuda_kernel = 2500;  // which brings its instructions and its start

inline Faults file_sizes(const Tree& tree) {
  Faults faults;
  for (const auto& [path, text] : tree.texts())
    if (const auto lines = lines_of(text).size(); is_cpp(path) && lines > max_file)
      faults.push_back(path + ": " + std::to_string(lines) + " lines");
  return faults;
}

inline Faults function_sizes(const Tree& tree) {
  Faults faults;
  std::size_t all = 0;
  std::vector<std::string> above_usual;
  for (const auto& [path, text] : tree.texts()) {
    if (!is_cpp(path)) continue;
    for (const Function& function : functions_of(text)) {
      const std::string found = at(path, function.line) + function.name + " has " +
                                std::to_string(function.lines) + " lines";
      ++all;
      if (function.lines > max_function) faults.push_back(found);
      if (function.lines > usual_function) above_usual.push_back(found);
    }
  }
  if (above_usual.size() * 10 > all)
    faults.insert(faults.end(), above_usual.begin(), above_usual.end());
  return faults;
}

/// All files of ours that `path` leads to, itself included.
inline void follow(const Tree& tree, const std::string& path, std::set<std::string>& reached) {
  if (!reached.insert(path).second) return;
  for (const auto& [line, name] : includes_of(tree.text(path))) {
    const std::string inner = name.substr(1, name.size() - 2);
    const std::string beside = path.substr(0, path.rfind('/') + 1) + inner;
    for (const std::string& candidate : {"include/" + inner, beside})
      if (tree.texts().contains(candidate)) follow(tree, candidate, reached);
  }
}

inline std::size_t reading_cost(const Tree& tree, const std::string& path) {
  std::set<std::string> reached;
  follow(tree, path, reached);
  std::size_t lines = 0;
  for (const auto& file : reached) lines += lines_of(tree.text(file)).size();
  return lines;
}

inline Faults reading_costs(const Tree& tree) {
  Faults faults;
  const auto judge = [&faults](const std::string& what, std::size_t lines, std::size_t budget) {
    if (lines > budget)
      faults.push_back(what + ": " + std::to_string(lines) + " lines to read, the budget is " +
                       std::to_string(budget));
  };
  std::size_t model = 0;
  for (const auto& [path, text] : tree.texts()) {
    if (path.starts_with("include/idefics/model/")) model += lines_of(text).size();
    if (path.starts_with("include/idefics/backend/cpu/") && path.ends_with(".inl"))
      judge(path, reading_cost(tree, path), max_kernel);
    if (path.starts_with("cuda/") && text.find("__global__") != std::string::npos)
      judge(path, reading_cost(tree, path), max_cuda_kernel);
  }
  judge("include/idefics/model/", model, max_model_folder);
  const std::string page = "include/idefics/model/idefics.hpp";
  judge(page, reading_cost(tree, page), max_model_page);
  return faults;
}

}  // namespace house
