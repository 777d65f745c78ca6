// A source tree as the checks see it: paths below a root, and the text of what people wrote. The
// repository is read from disk; a tree with a planted fault is made in memory.
#pragma once

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <iterator>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace house {

/// What a check found, "path:line: sentence" each; empty if all is well.
using Faults = std::vector<std::string>;

inline std::string at(const std::string& path, std::size_t line) {
  return path + ":" + std::to_string(line) + ": ";
}

/// Path and text of each file that was written by hand.
class Tree {
 public:
  using Texts = std::map<std::string, std::string>;

  Tree(std::initializer_list<Texts::value_type> texts) : Tree(Texts(texts)) {}
  explicit Tree(Texts texts) : texts_(std::move(texts)) {
    for (const auto& [path, text] : texts_) add_path(path);
  }

  static Tree from_disk(const std::filesystem::path& root) {
    Tree tree(Texts{});
    for (auto entry = std::filesystem::recursive_directory_iterator(root);
         entry != std::filesystem::recursive_directory_iterator(); ++entry) {
      const std::string path = entry->path().lexically_relative(root).generic_string();
      if (path == ".git" || path.starts_with("build") || path == "tests/house/planted")
        entry.disable_recursion_pending();
      else if (entry->is_regular_file())
        tree.read(root, path);
    }
    return tree;
  }

  const Texts& texts() const { return texts_; }
  /// Empty if there is no such file.
  std::string_view text(const std::string& path) const {
    const auto found = texts_.find(path);
    return found == texts_.end() ? std::string_view() : found->second;
  }
  /// A file, or a folder that holds one.
  bool exists(std::string_view path) const {
    while (path.ends_with('/')) path.remove_suffix(1);
    return paths_.contains(path);
  }

 private:
  void add_path(std::string path) {
    for (; !path.empty(); path.resize(path.rfind('/') == path.npos ? 0 : path.rfind('/')))
      paths_.insert(path);
  }
  void read(const std::filesystem::path& root, const std::string& path) {
    add_path(path);
    static const std::set<std::string> written{".hpp", ".inl", ".cpp", ".cuh", ".cu", ".md"};
    if (!written.contains(std::filesystem::path(path).extension().string())) return;
    std::ifstream file(root / path, std::ios::binary);
    texts_[path].assign(std::istreambuf_iterator<char>(file), {});
  }

  Texts texts_;
  std::set<std::string, std::less<>> paths_;
};

inline std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

inline bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/// The identifiers of a line, and its numbers.
inline std::vector<std::string_view> words_of(std::string_view line) {
  std::vector<std::string_view> words;
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (!is_word(line[i])) continue;
    const std::size_t begin = i;
    while (i < line.size() && is_word(line[i])) ++i;
    words.push_back(line.substr(begin, i - begin));
  }
  return words;
}

inline std::string_view trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t\r");
  if (begin == text.npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r") - begin + 1);
}

/// What stands between `open` and the next `close`, from `from` on; nothing if they are not there.
inline std::string_view between(std::string_view text, std::string_view open,
                                std::string_view close, std::size_t from = 0) {
  const std::size_t begin = text.find(open, from);
  if (begin == text.npos) return {};
  const std::size_t end = text.find(close, begin + open.size());
  if (end == text.npos) return {};
  return text.substr(begin + open.size(), end - begin - open.size());
}

}  // namespace house
