// Makes the n-th allocation, and the n-th read of a file, fail: while a checkpoint is loaded,
// captions a picture, talks, or is quantized. Each time the result is a typed error or
// std::bad_alloc, nothing leaks, and the same objects give the same answer afterwards, also to
// another thread. By default a sample of all n; with IDEFICS_EVERY_FAILURE=1, all of them.
#include "support/counting_malloc.hpp"
#include "support/counting_reads.hpp"

#include <cstdlib>
#include <thread>

#include <idefics/chat.hpp>
#include <idefics/quantize.hpp>

#include "support/catch.hpp"
#include "support/temp_dir.hpp"

using namespace idefics;

namespace {

const std::filesystem::path samples = std::filesystem::path(IDEFICS_SOURCE_DIR) / "samples";
const std::string tiny = (samples / "tiny").string();

Image picture(const char* name) { return Image::open(samples / "pictures" / name); }

/// A caption of a picture, which the model has to encode: its cache is empty or has another one.
std::string caption(const Processor& processor, const Model& model, const char* name) {
  const Inputs inputs = processor({picture(name)});
  const auto output = model.generate(inputs, {.max_new_tokens = 8});
  return processor.batch_decode(output.sequences, {.skip_special_tokens = true})[0];
}

enum class Failure { allocation, all_allocations, read };

void fail_from(Failure kind, std::int64_t n) {
  heap::refuse_once = kind == Failure::allocation;
  if (kind == Failure::read)
    reads::fail_at = n < 0 ? n : reads::count + n;
  else
    heap::refuse_at = n < 0 ? n : heap::count + n;
}

std::int64_t calls(Failure kind) {
  return kind == Failure::read ? reads::count.load() : heap::count.load();
}

/// Makes the n-th call fail while `act` runs; whether it was reached.
template <class Act>
bool runs_into(Failure kind, std::int64_t n, const Act& act) {
  const std::int64_t before = calls(kind);
  fail_from(kind, n);
  try {
    (void)act();
  } catch (const std::bad_alloc&) {
  } catch (const Error& error) {
    fail_from(kind, -1);
    CHECK(error.code() != ErrorCode::invalid_argument);
  }
  fail_from(kind, -1);
  return calls(kind) - before > n;
}

/// Fails `act` at many n, and expects that nothing is left of it and that `answer()` stays the same.
/// After every failure if both use the same objects; else each act is the next one's test.
template <class Act, class Answer>
void fail_everywhere(const std::string& what, const Act& act, const Answer& answer,
                     bool same_objects) {
  const char* every = std::getenv("IDEFICS_EVERY_FAILURE");
  const bool all = every != nullptr && *every == '1';
  const auto expected = answer();
  for (const Failure kind : {Failure::allocation, Failure::all_allocations, Failure::read}) {
    const std::int64_t before = calls(kind);
    (void)act();
    const std::int64_t total = calls(kind) - before;
    // the first ones one by one, then a sample
    const std::int64_t stride = all ? 1 : std::max<std::int64_t>(1, total / 60);
    CAPTURE(what, static_cast<int>(kind), total);
    std::thread([&] { (void)answer(); }).join();  // a thread that is new allocates, too
    (void)answer();
    std::int64_t failures = 0, wrong = 0, leaks = 0;
    for (std::int64_t n = 0; n < total; n += n < 20 || all ? 1 : stride) {
      const std::int64_t live = heap::live;
      failures += runs_into(kind, n, act);
      const bool ask = same_objects || failures % 8 == 0;
      if (ask) wrong += answer() != expected;
      if (ask || !same_objects) leaks += heap::live != live;
    }
    CHECK(failures > 0);
    CHECK(leaks == 0);
    CHECK(wrong == 0);
    std::thread([&] { wrong += answer() != expected; }).join();
    CHECK(wrong == 0);
    std::printf("%s: %lld of %lld\n", what.c_str(), static_cast<long long>(failures),
                static_cast<long long>(total));
  }
}

}  // namespace

TEST_CASE("loading a checkpoint survives every failure") {
  set_num_threads(1);
  const auto processor = Processor::from_pretrained(tiny);
  const ModelOptions as_stored{}, read{.mmap = false},
      quantized{.quantization_config = {.load_in_4bit = true}};
  for (const ModelOptions& options : {as_stored, read, quantized}) {
    const auto load = [&] {
      const auto model = Model::from_pretrained(tiny, options);
      return caption(processor, model, "pink-boat.png");
    };
    fail_everywhere("load", load, load, false);
  }
}

TEST_CASE("a model survives every failure of a caption") {
  set_num_threads(1);
  const auto processor = Processor::from_pretrained(tiny);
  const auto model = Model::from_pretrained(tiny, {.image_cache_size = 1});
  const auto two = [&] {
    return caption(processor, model, "pink-boat.png") +
           caption(processor, model, "blue-cat-and-pink-fish.png");
  };
  fail_everywhere("caption", two, two, true);
}

TEST_CASE("a picture that could not be encoded is encoded again") {
  set_num_threads(1);
  const auto processor = Processor::from_pretrained(tiny);
  const auto model = Model::from_pretrained(tiny, {.image_cache_size = 1});
  const Inputs inputs = processor({picture("pink-boat.png")}),
               others = processor({picture("blue-cat-and-pink-fish.png")});
  const auto answer = [&model](const Inputs& in) {
    return model.generate(in, {.max_new_tokens = 6}).sequences;
  };
  const auto expected = answer(inputs);
  std::int64_t wrong = 0;
  for (std::int64_t n = 0; n < 150; ++n) {  // more than before the first layer of the vision tower
    (void)answer(others);
    (void)runs_into(Failure::allocation, n, [&] { return answer(inputs); });
    wrong += answer(inputs) != expected;
  }
  CHECK(wrong == 0);
}

TEST_CASE("a conversation survives every failure of a turn") {
  set_num_threads(1);
  const auto processor = Processor::from_pretrained(tiny);
  auto model = Model::from_pretrained(tiny);
  const auto talk = [&] {
    Chat chat(model, processor, {.max_new_tokens = 6});
    const std::string first = chat.ask("What is this?", {picture("pink-boat.png")});
    const std::size_t messages = chat.messages().size();
    std::string second;
    try {
      second = chat.ask("And this?", {picture("blue-cat-and-pink-fish.png")});
    } catch (...) {
      if (chat.messages().size() != messages) std::abort();
      throw;
    }
    return first + second;
  };
  fail_everywhere("chat", talk, talk, true);
}

TEST_CASE("quantizing survives every failure, and leaves no files") {
  set_num_threads(1);
  const testing::TempDir directory;
  const auto out = directory.path() / "out";
  const auto quantize = [&] {
    quantize_checkpoint(tiny, out);
    std::string written = detail::read_file(out / "model.safetensors", 64 << 20);
    std::filesystem::remove_all(out);
    return written;
  };
  const auto attempt = [&] {
    quantize_checkpoint(tiny, out);
    fail_from(Failure::allocation, -1);
    fail_from(Failure::read, -1);
    std::filesystem::remove_all(out);
    return 0;
  };
  fail_everywhere("quantize", attempt, quantize, false);
}
