// Fetches one file of the hub into the blobs of the cache. It has another name until it is complete
// and has the size and the hash that the hub lists; what was received before an interruption is kept
// and continued.
#pragma once

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <idefics/io/hub/digest.hpp>
#include <idefics/io/hub/listing.hpp>
#include <idefics/io/mapped_file.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// The bytes of a blob so far, in a file that only one process writes at a time.
class PartialBlob {
 public:
  PartialBlob(std::filesystem::path path, const HubFile& file, const HubAccess& access)
      : path_(std::move(path)),
        listed_(file),
        file_(::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)) {
    if (file_.get() < 0) fail_errno(path_, "cannot create the file");
    while (::flock(file_.get(), LOCK_EX | LOCK_NB) != 0) {  // another pull fetches it
      if (errno != EWOULDBLOCK && errno != EINTR) fail_errno(path_, "cannot lock the file");
      Retry::check_stop(access);
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
  }

  std::uint64_t size() const { return size_; }
  std::string hash() const { return digest_.hex(); }

  /// Reads what an earlier run has received.
  void resume() {
    const std::uint64_t there = state_of(file_, path_).size;
    if (there > listed_.size || listed_.hash.empty()) return clear();
    std::vector<std::byte> buffer(1 << 20);
    while (size_ < there) {
      const auto got =
          ::pread(file_.get(), buffer.data(), buffer.size(), static_cast<off_t>(size_));
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) fail_errno(path_, "cannot read the file");
      digest_.add(std::span(buffer).first(static_cast<std::size_t>(got)));
      size_ += static_cast<std::uint64_t>(got);
    }
  }
  void clear() {
    if (::ftruncate(file_.get(), 0) != 0) fail_errno(path_, "cannot shorten the file");
    size_ = 0;
    digest_ = digest_of(listed_);
  }
  void add(std::span<const std::byte> bytes) {
    digest_.add(bytes);
    while (!bytes.empty()) {
      const auto written =
          ::pwrite(file_.get(), bytes.data(), bytes.size(), static_cast<off_t>(size_));
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) fail_errno(path_, "cannot write the file");
      size_ += static_cast<std::uint64_t>(written);
      bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
  }
  void commit(const std::filesystem::path& to) {
    if (::fsync(file_.get()) != 0) fail_errno(path_, "cannot write the file");
    if (::rename(path_.c_str(), to.c_str()) != 0) fail_errno(path_, "cannot rename the file");
  }
  void remove() { ::unlink(path_.c_str()); }

 private:
  /// Without a hash of the hub, SHA-256 gives the blob its name.
  static FileDigest digest_of(const HubFile& file) {
    return {file.sha256 || file.hash.empty(), file.size};
  }

  std::filesystem::path path_;
  const HubFile& listed_;
  Descriptor file_;
  FileDigest digest_ = digest_of(listed_);
  std::uint64_t size_ = 0;
};

/// Whether the blob of a file is in the cache.
inline bool has_blob(const std::filesystem::path& blobs, const HubFile& file) {
  std::error_code error;
  return !file.hash.empty() && std::filesystem::is_regular_file(blobs / file.hash, error) &&
         std::filesystem::file_size(blobs / file.hash, error) == file.size;
}

class BlobFetch {
 public:
  /// `received` counts the bytes of this and other files.
  BlobFetch(const HubAccess& access, const HubName& name, std::filesystem::path blobs,
            std::atomic<std::uint64_t>& received)
      : access_(access), name_(name), blobs_(std::move(blobs)), received_(received) {}

  /// Returns the name of the blob. Throws what HubClient throws, and `io_failure`.
  std::string operator()(const HubFile& file) {
    const std::string& id = file.hash.empty() ? unnamed(file) : file.hash;
    PartialBlob blob(blobs_ / (id + ".part"), file, access_);
    if (has_blob(blobs_, file)) {  // fetched by another process meanwhile
      blob.remove();
      received_ += file.size;
      return file.hash;
    }
    blob.resume();
    received_ += blob.size();
    for (int attempt = 0;; ++attempt) {
      fetch_rest(file, blob);
      if (file.hash.empty() || blob.hash() == file.hash) break;
      const std::string found = blob.hash();
      restart(blob);
      if (attempt > 0)
        fail(ErrorCode::fetch_failed,
             "what the hub sends has the hash " + found + ", not " + file.hash,
             {.file = HubListing::url_of(access_, name_, file.path)});
    }
    const std::string hash = blob.hash();
    blob.commit(blobs_ / hash);
    return hash;
  }

 private:
  static std::string unnamed(const HubFile& file) {
    Sha256 digest;
    digest.add(file.path);
    return digest.hex();
  }

  void restart(PartialBlob& blob) {
    received_ -= blob.size();
    blob.clear();
  }

  void fetch_rest(const HubFile& file, PartialBlob& blob) {
    const std::string url = HubListing::url_of(access_, name_, file.path);
    Retry retry(access_);
    etag_.clear();
    while (blob.size() < file.size) {
      const std::uint64_t before = blob.size();
      try {
        client_.get(
            url, before, [&](const HubAnswer& answer) { begin(answer, file, blob, url); },
            [&](std::span<const std::byte> bytes) {
              if (bytes.size() > file.size - blob.size())
                throw HubFault{.why = "the hub sends more bytes than it lists", .restart = true};
              blob.add(bytes);
              received_ += bytes.size();
            });
        if (blob.size() < file.size) throw HubFault{"the hub sends fewer bytes than it lists"};
      } catch (const HubFault& fault) {
        if (fault.restart)
          restart(blob);
        else if (blob.size() > before)
          retry.progressed();
        retry.after(fault, url);
      }
    }
  }

  /// Compares the head of an answer with the list and with what is there already.
  void begin(const HubAnswer& answer, const HubFile& file, PartialBlob& blob,
             const std::string& url) {
    if (!answer.linked_etag.empty() && !file.hash.empty() && answer.linked_etag != file.hash)
      fail(ErrorCode::fetch_failed,
           "the file has changed since the hub listed it: run the command again", {.file = url});
    const std::string before = std::exchange(etag_, answer.etag);
    if (answer.status == 206) {
      const bool fits =
          answer.first == blob.size() && answer.total.value_or(file.size) == file.size;
      if (!fits || (!before.empty() && before != answer.etag))
        throw HubFault{.why = "the hub continues another file or elsewhere", .restart = true};
    } else {
      if (blob.size() > 0) restart(blob);  // the server does not know ranges
      if (answer.length && *answer.length != file.size)
        throw HubFault{"the hub sends a file of " + std::to_string(*answer.length) +
                       " bytes and lists it with " + std::to_string(file.size)};
    }
  }

  const HubAccess& access_;
  const HubName& name_;
  std::filesystem::path blobs_;
  std::atomic<std::uint64_t>& received_;
  HubClient client_{access_};
  std::string etag_;  // of the file that is being fetched
};

}}}  // namespace idefics::v0::detail
