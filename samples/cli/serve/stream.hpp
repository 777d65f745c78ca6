// Answers as server-sent events, while they are generated.
#pragma once

#include <memory>
#include <vector>

#include "cli/serve/answers.hpp"
#include "cli/serve/connection.hpp"
#include "cli/serve/job.hpp"

namespace cli::serve {

/// Waits for pieces of an answer or its end, and returns whether it is the end. Cancels the job and
/// throws Error, `cancelled`, if the client leaves.
bool wait_for_pieces(const Connection& connection, Job& job, std::vector<Piece>& pieces);

class EventStream {
 public:
  EventStream(Connection& connection, std::shared_ptr<Job> job, std::shared_ptr<Answers> answers,
              AnswerForm form, const Options& options, std::size_t count);

  /// Waits for the first token. Throws what the generation throws before it.
  void begin();
  /// Writes all events; false if the client has left.
  bool write(httplib::DataSink& sink);

 private:
  void send(httplib::DataSink& sink, const idefics::Json& json) const;
  void send_pieces(httplib::DataSink& sink) const;
  void send_end(httplib::DataSink& sink) const;

  Connection& connection_;
  std::shared_ptr<Job> job_;
  std::shared_ptr<Answers> answers_;
  AnswerForm form_;
  bool include_usage_;
  std::size_t count_;
  std::vector<Piece> pieces_;
  bool done_ = false;
};

}  // namespace cli::serve
