// Ranks of the command line.
#include "cli/ranks.hpp"

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <span>

#if defined(IDEFICS_MPI)
#include <idefics/ranks/mpi_ranks.hpp>
#endif

namespace cli {
namespace {

std::shared_ptr<idefics::Communicator> joined;
std::string error_text;

#if defined(IDEFICS_MPI)
volatile std::sig_atomic_t ending = 0;
void on_termination(int) { ending = 1; }
#endif

}  // namespace

std::shared_ptr<idefics::Communicator> ranks() { return joined; }
bool is_first_rank() { return !joined || joined->rank() == 0; }
void remember_error(const std::string& text) { error_text = text; }

void join_ranks() {
#if defined(IDEFICS_MPI)
  if (!idefics::started_by_mpi_launcher()) return;
  joined = idefics::make_mpi_ranks({.interrupted = [] { return ending != 0; }});
  struct sigaction action {};  // without SA_RESTART: reading a line ends
  action.sa_handler = on_termination;
  ::sigaction(SIGTERM, &action, nullptr);  // what launchers send when another rank was killed
  if (joined->rank() == 0) return;
  for (std::FILE* stream : {stdout, stderr})
    if (std::freopen("/dev/null", "w", stream) == nullptr) std::exit(1);
#endif
}

int leave_ranks(int code) {
  if (!joined) return code;
  if (code != 0) joined->give_up(error_text.c_str());
  joined.reset();
  return code;
}

void share(std::string& value) {
  if (!joined) return;
  std::uint64_t size = value.size();
  joined->broadcast(std::as_writable_bytes(std::span(&size, 1)), 0);
  value.resize(size);
  joined->broadcast(std::as_writable_bytes(std::span(value)), 0);
}

void share(bool& value) {
  if (joined) joined->broadcast(std::as_writable_bytes(std::span(&value, 1)), 0);
}

std::vector<std::byte> fetch_on_first_rank(const std::function<std::vector<std::byte>()>& fetch) {
  std::string bytes;
  bool fetched = true;
  std::exception_ptr error;
  if (is_first_rank()) {
    try {
      const auto body = fetch();
      bytes.assign(reinterpret_cast<const char*>(body.data()), body.size());
    } catch (...) {
      error = std::current_exception(), fetched = false;
    }
  }
  share(fetched);
  if (error) std::rethrow_exception(error);
  if (!fetched) idefics::fail(idefics::ErrorCode::fetch_failed, "rank 0 could not fetch a picture");
  share(bytes);
  const auto body = std::as_bytes(std::span(bytes));
  return {body.begin(), body.end()};
}

}  // namespace cli
