// A hub on loopback for the scripts of this folder, with the files of a directory as org/name: prints
// its address and serves until its input ends. With a second argument, the first request for a
// weight file is cut off half-way.
// usage: hub DIRECTORY [cut]
#include <iostream>

#include "support/hub_server.hpp"

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(argv[1]))
    files[entry.path().filename().string()] =
        idefics::detail::read_file(entry.path(), std::uint64_t{1} << 30);
  const auto cut = [&](const std::string& path, const std::string& head,
                       int count) -> std::optional<testing::Reply> {
    if (argc < 3 || count > 0 || !path.ends_with(".safetensors")) return std::nullopt;
    testing::Reply reply = testing::HubServer::file_reply(files.at(path), head);
    reply.parts[0].resize(reply.parts[0].size() / 2);
    return reply;
  };
  const testing::HubServer hub(files, cut);
  std::cout << hub.root() << std::endl;
  while (std::cin.get() != EOF) {
  }
}
