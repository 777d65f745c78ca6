// Streams an answer in pieces of text while it is generated, by callback or as a range. The
// concatenated pieces are the decoded answer, and none ends within a character. Source:
// transformers' TextStreamer and TextIteratorStreamer.
#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <iterator>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include <idefics/core/threads.hpp>
#include <idefics/generation/options/config.hpp>
#include <idefics/generation/run/output.hpp>
#include <idefics/model/inputs.hpp>
#include <idefics/text/tokenizer.hpp>

namespace idefics { inline namespace v0 {

/// Receives a piece of text; returning false stops generation after the current token.
using PieceCallback = std::function<bool(const std::string& piece)>;

/// A StepCallback that decodes tokens and passes their text to a callback.
///
///   TextStreamer streamer(processor.tokenizer(), [](const std::string& piece) {
///     std::cout << piece << std::flush;
///     return true;
///   });
///   model.generate(inputs, config, {}, std::ref(streamer));
///   streamer.finish();
class TextStreamer {
 public:
  /// `tokenizer` must outlive the streamer.
  TextStreamer(const Tokenizer& tokenizer, PieceCallback on_piece,
               DecodeOptions options = {.skip_special_tokens = true})
      : decoder_(tokenizer, options), on_piece_(std::move(on_piece)) {}

  /// Receives the tokens of a step. Throws `invalid_option` for beams, and for more than one row,
  /// since their texts would be interleaved.
  bool operator()(std::span<const std::pair<std::int32_t, std::int32_t>> chosen) {
    if (chosen.empty())
      fail(ErrorCode::invalid_option,
           "beam search cannot be streamed: its text is known only at the end",
           {.field = "num_beams"});
    bool keep_going = true;
    for (const auto& [row, id] : chosen) {
      if (row != 0)
        fail(ErrorCode::invalid_option, "only a single row can be streamed", {.field = "stream"});
      keep_going = push(id) && keep_going;
    }
    return keep_going;
  }
  /// Receives one token, for instance of the prompt.
  bool push(std::int32_t id) { return deliver(decoder_.push(id)); }
  /// Flushes the text that was held back, after generation has ended.
  bool finish() { return deliver(decoder_.finish()); }

 private:
  bool deliver(const std::string& piece) { return piece.empty() || on_piece_(piece); }

  TextDecoder decoder_;
  PieceCallback on_piece_;
};

/// The pieces of an answer as a range, generated concurrently by a separate thread. Leaving the
/// loop early stops generation; an error of generation is rethrown to the reader.
///
///   for (const std::string& piece : stream_text(model, processor.tokenizer(), inputs, config))
///     std::cout << piece << std::flush;
class TextStream {
 public:
  using Run = std::function<GenerationOutput(const StepCallback&)>;

  /// `run` generates; what it refers to, and `tokenizer`, must outlive the stream.
  TextStream(const Tokenizer& tokenizer, Run run,
             DecodeOptions options = {.skip_special_tokens = true})
      : state_(std::make_unique<State>()) {
    // the number of threads for parallel loops is thread-local, so it is copied to the new thread
    worker_ = std::thread(
        [state = state_.get(), &tokenizer, run = std::move(run), options, threads = num_threads()] {
          set_num_threads(threads);
          state->work(tokenizer, run, options);
        });
  }
  TextStream(TextStream&&) = default;
  TextStream& operator=(TextStream&&) = delete;
  ~TextStream() {
    if (!worker_.joinable()) return;
    state_->cancel();
    worker_.join();
  }

  class Iterator {
   public:
    using value_type = std::string;
    using difference_type = std::ptrdiff_t;

    const std::string& operator*() const { return piece_; }
    Iterator& operator++() {
      at_end_ = !stream_->state_->next(piece_);
      return *this;
    }
    void operator++(int) { ++*this; }
    bool operator==(std::default_sentinel_t) const { return at_end_; }

   private:
    friend TextStream;
    explicit Iterator(TextStream* stream) : stream_(stream) { ++*this; }

    TextStream* stream_;
    std::string piece_;
    bool at_end_ = false;
  };

  /// Single-pass: pieces are removed as they are read.
  Iterator begin() { return Iterator(this); }
  std::default_sentinel_t end() const { return {}; }

  /// Reads the remaining pieces and returns the whole result.
  const GenerationOutput& output() {
    for (std::string rest; state_->next(rest);) {
    }
    return state_->output;
  }

 private:
  struct State {
    std::mutex mutex;
    std::condition_variable changed;
    std::deque<std::string> pieces;
    bool done = false, cancelled = false;
    std::exception_ptr error;
    GenerationOutput output;

    void work(const Tokenizer& tokenizer, const Run& run, DecodeOptions options) {
      TextStreamer streamer(
          tokenizer, [this](const std::string& piece) { return add(piece); }, options);
      std::exception_ptr failure;
      try {
        output = run([this, &streamer](auto chosen) { return streamer(chosen) && !stopped(); });
        streamer.finish();
      } catch (...) {
        failure = std::current_exception();
      }
      const std::scoped_lock lock(mutex);
      error = failure;
      done = true;
      changed.notify_all();
    }
    bool add(const std::string& piece) {
      const std::scoped_lock lock(mutex);
      pieces.push_back(piece);
      changed.notify_all();
      return !cancelled;
    }
    bool stopped() {
      const std::scoped_lock lock(mutex);
      return cancelled;
    }
    void cancel() {
      const std::scoped_lock lock(mutex);
      cancelled = true;
    }
    bool next(std::string& piece) {
      std::unique_lock lock(mutex);
      changed.wait(lock, [this] { return done || !pieces.empty(); });
      if (!pieces.empty()) {
        piece = std::move(pieces.front());
        pieces.pop_front();
        return true;
      }
      if (error) std::rethrow_exception(error);
      return false;
    }
  };

  std::unique_ptr<State> state_;
  std::thread worker_;
};

/// The answer of `model.generate(inputs, config)` as a range. `model` and `tokenizer` must outlive
/// the stream, and the model must not be used elsewhere meanwhile.
template <class Model>
TextStream stream_text(Model& model, const Tokenizer& tokenizer, Inputs inputs,
                       GenerationConfig config = {}) {
  return TextStream(tokenizer, [&model, inputs = std::move(inputs),
                                config = std::move(config)](const StepCallback& on_step) {
    return model.generate(inputs, config, {}, on_step);
  });
}

}}  // namespace idefics::v0
