// Server-sent events.
#include "cli/serve/stream.hpp"

#include <iostream>

#include "cli/generation_json.hpp"
#include "cli/report.hpp"
#include "cli/serve/errors.hpp"

namespace cli::serve {

using namespace idefics;

bool wait_for_pieces(const Connection& connection, Job& job, std::vector<Piece>& pieces) {
  constexpr std::chrono::milliseconds pause{50};
  for (;;) {
    const bool done = job.wait(pause, pieces);
    if (done || !pieces.empty()) return done;
    if (!connection.left()) continue;
    job.cancel();
    fail(ErrorCode::cancelled, "the client has left");
  }
}

EventStream::EventStream(Connection& connection, std::shared_ptr<Job> job,
                         std::shared_ptr<Answers> answers, AnswerForm form, const Options& options,
                         std::size_t count)
    : connection_(connection),
      job_(std::move(job)),
      answers_(std::move(answers)),
      form_(std::move(form)),
      include_usage_(options.include_usage),
      count_(count) {}

void EventStream::begin() { done_ = wait_for_pieces(connection_, *job_, pieces_); }

bool EventStream::write(httplib::DataSink& sink) {
  try {
    for (std::size_t i = 0; i < count_; ++i)
      if (const Json first = form_.first(i); !first.is_null()) send(sink, first);
    send_pieces(sink);
    while (!done_) {
      done_ = wait_for_pieces(connection_, *job_, pieces_);
      send_pieces(sink);
    }
    send_end(sink);
  } catch (const std::exception& error) {
    job_->cancel();
    const Fault fault = fault_of(error);
    connection_.record.status = fault.status;
    if (fault.status == status_of(ErrorCode::cancelled)) return false;
    if (fault.status == 500) note(std::string("error: ") + error.what());
    const std::string text = "data: " + dump(fault.body) + "\n\n";  // the status is sent already
    if (!sink.write(text.data(), text.size())) return false;
  }
  constexpr std::string_view last = "data: [DONE]\n\n";
  if (!sink.write(last.data(), last.size())) return false;
  sink.done();
  return true;
}

void EventStream::send(httplib::DataSink& sink, const Json& json) const {
  const std::string text = "data: " + dump(json) + "\n\n";
  if (!sink.write(text.data(), text.size())) fail(ErrorCode::cancelled, "the client has left");
}

void EventStream::send_pieces(httplib::DataSink& sink) const {
  for (const Piece& piece : pieces_) send(sink, form_.piece(piece.answer, piece.text));
}

void EventStream::send_end(httplib::DataSink& sink) const {
  for (std::size_t i = 0; i < answers_->list.size(); ++i)
    send(sink, form_.last(i, answers_->list[i]));
  connection_.record.prompt_tokens = answers_->prompt_tokens;
  connection_.record.new_tokens = answers_->new_tokens;
  if (include_usage_) send(sink, form_.usage(*answers_));
}

}  // namespace cli::serve
