// kill -9 in the middle of a pull and of quantizing: nothing partial is visible, and the next run
// completes, with what was done before.
#include <sys/wait.h>
#include <unistd.h>
#include <csignal>

#include <idefics/quantize.hpp>

#include "support/catch.hpp"
#include "support/hub_server.hpp"
#include "support/temp_dir.hpp"

using namespace idefics;
using testing::HubServer;
using testing::Reply;

namespace {

/// A process that can be killed. It is forked before any thread exists, and waits for a word.
class Victim {
 public:
  explicit Victim(const std::function<void(const std::string& word, int progress)>& work) {
    REQUIRE(::pipe(words_) == 0);
    REQUIRE(::pipe(progress_) == 0);
    process_ = ::fork();
    if (process_ != 0) return;
    char word[200] = {};
    if (::read(words_[0], word, sizeof word - 1) > 0) work(word, progress_[1]);
    ::_exit(0);
  }
  void start(const std::string& word) {
    REQUIRE(::write(words_[1], word.data(), word.size()) == static_cast<ssize_t>(word.size()));
  }
  /// Waits until the process has written a byte to `progress`, and kills it.
  void kill() {
    char byte = 0;
    CHECK(::read(progress_[0], &byte, 1) == 1);
    ::kill(process_, SIGKILL);
    int status = 0;
    ::waitpid(process_, &status, 0);
    CHECK(WIFSIGNALED(status));
  }

 private:
  int words_[2], progress_[2];
  pid_t process_;
};

/// Says that the work is under way, and waits to be killed.
bool report(int progress) {
  const bool said = ::write(progress, "x", 1) == 1;
  while (said) ::pause();
  return said;
}

}  // namespace

TEST_CASE("a pull that is killed is continued by the next one") {
  const testing::TempDir cache;
  Victim victim([&](const std::string& root, int progress) {
    (void)pull_checkpoint(
        "org/name", {.cache = cache.path(), .endpoint = root, .progress = [&](const Progress& p) {
                       return p.done < 200'000 || report(progress);
                     }});
  });
  const std::string weights = testing::noise(400'000);
  const HubServer hub(
      {{"config.json", "{}"}, {"model.safetensors", weights}},
      [&](const std::string& path, const std::string& head, int count) -> std::optional<Reply> {
        if (path != "model.safetensors" || count > 0) return std::nullopt;
        const std::string text = HubServer::file_reply(weights, head).parts[0];
        return Reply{.parts = {text.substr(0, 250'000), text.substr(250'000)},
                     .pause = std::chrono::milliseconds(2000)};
      });
  victim.start(hub.root());
  victim.kill();
  const auto root = cache.path() / "models--org--name";
  CHECK_FALSE(std::filesystem::exists(root / "refs"));
  CHECK_FALSE(std::filesystem::exists(root / "snapshots"));
  CHECK_FALSE(std::filesystem::exists(root / "blobs" / HubServer::sha256_of(weights)));
  const auto snapshot = pull_checkpoint("org/name", testing::hub_options(hub, cache.path()));
  CHECK(detail::read_file(snapshot / "model.safetensors", 1 << 20) == weights);
  CHECK(hub.requests().back().second.find("Range: bytes=2") != std::string::npos);
}

TEST_CASE("quantizing that is killed is continued by the next run") {
  const testing::TempDir directory;
  const auto source = std::filesystem::path(IDEFICS_GOLDEN_DIR) / "models" / "interval_three";
  const auto out = directory.path() / "out", other = directory.path() / "other";
  QuantizeCheckpointOptions options{.max_shard_size = 20'000};
  Victim victim([&](const std::string&, int progress) {
    set_num_threads(1);
    options.progress = [&](const Progress& p) {
      return p.done < p.total * 3 / 4 || report(progress);
    };
    quantize_checkpoint(source, out, options);
  });
  victim.start("now");
  victim.kill();
  CHECK_FALSE(std::filesystem::exists(out));
  const auto part = directory.path() / "out.part";
  std::vector<std::filesystem::path> finished;
  for (const auto& entry : std::filesystem::directory_iterator(part))
    if (entry.path().filename().string().starts_with("model-")) finished.push_back(entry.path());
  REQUIRE_FALSE(finished.empty());
  const auto time = std::filesystem::last_write_time(finished.front());
  const auto name = finished.front().filename();
  quantize_checkpoint(source, out, options);
  CHECK(std::filesystem::last_write_time(out / name) == time);  // was not written again
  CHECK_FALSE(std::filesystem::exists(part));
  quantize_checkpoint(source, other, options);
  for (const auto& entry : std::filesystem::directory_iterator(other))
    CHECK(detail::read_file(out / entry.path().filename(), 1u << 30) ==
          detail::read_file(entry.path(), 1u << 30));
}

TEST_CASE("what an interrupted run with other options left is not used") {
  const testing::TempDir directory;
  const auto source = std::filesystem::path(IDEFICS_GOLDEN_DIR) / "models" / "interval_three";
  const auto out = directory.path() / "out", part = directory.path() / "out.part";
  std::filesystem::create_directory(part);
  directory.write("out.part/.recipe", "another");
  directory.write("out.part/model.safetensors", "not a file of tensors");
  directory.write("out.part/left", "over");
  quantize_checkpoint(source, out);
  CHECK_FALSE(std::filesystem::exists(out / "left"));
  CHECK(Checkpoint::open(out).tensors().size() > 10);
}
