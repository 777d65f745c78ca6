// What is unusual about the files of a checkpoint but does not prevent loading. The library collects
// warnings in the object that was loaded (Processor::warnings, Model::warnings) and never prints.
#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

namespace idefics { inline namespace v0 {

struct Warning {
  std::string message;
  std::string file{};   // path of the file
  std::string field{};  // key path in it

  bool operator==(const Warning&) const = default;
  /// One line: "MESSAGE [file: PATH] [field: KEY]". Names are cut after 500 bytes.
  std::string text() const {
    std::string line = message.substr(0, 1000);
    for (const auto& [label, value] :
         {std::pair{" [file: ", &file}, std::pair{" [field: ", &field}})
      if (!value->empty()) line.append(label).append(value->substr(0, 500)).append("]");
    return line;
  }
};

/// Warnings in the order in which they arose, each once.
class Warnings {
 public:
  auto begin() const { return list_.begin(); }
  auto end() const { return list_.end(); }
  bool empty() const { return list_.empty(); }
  std::size_t size() const { return list_.size(); }

  /// Keeps at most 100: a file with thousands of faults is not worth more.
  void add(Warning warning) {
    constexpr std::size_t most = 100;
    if (list_.size() < most && std::ranges::find(list_, warning) == list_.end())
      list_.push_back(std::move(warning));
  }
  void add(const Warnings& others) {
    for (const Warning& warning : others) add(warning);
  }

 private:
  std::vector<Warning> list_;
};

}}  // namespace idefics::v0
