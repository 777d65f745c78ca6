// Ctrl-C. During generation, the first one stops the answer after the current token, so that the
// text so far can be printed; any other ends the program at once. Either way the exit code is 130,
// except that an interactive chat continues after an interrupted answer, and after the first Ctrl-C at
// its prompt.
#pragma once

#include <unistd.h>
#include <csignal>

#include <stdexcept>

namespace cli {

/// Thrown after the text so far has been printed: ends the program with exit code 130.
struct Interrupted : std::runtime_error {
  Interrupted() : std::runtime_error("interrupted") {}
};

namespace state {
inline volatile std::sig_atomic_t deferred = 0, interrupts = 0;
inline volatile std::sig_atomic_t awaiting = 0;
inline void on_interrupt(int) {
  if (awaiting != 0) {
    interrupts = 1;
    return;
  }
  if (deferred == 0 || interrupts != 0) _exit(130);
  interrupts = 1;
}
}  // namespace state

inline void handle_interrupts() {
  struct sigaction action {};
  action.sa_handler = state::on_interrupt;  // without SA_RESTART: reading a line ends with EINTR
  ::sigaction(SIGINT, &action, nullptr);
}
inline bool interrupted() { return state::interrupts != 0; }
inline void forget_interrupt() { state::interrupts = 0; }

/// Sets a flag of the handler while an instance exists.
template <volatile std::sig_atomic_t& flag>
class WhileSet {
 public:
  WhileSet() { flag = 1; }
  WhileSet(const WhileSet&) = delete;
  WhileSet& operator=(const WhileSet&) = delete;
  ~WhileSet() { flag = 0; }
};
/// Ctrl-C only sets interrupted(), and the pending read ends.
using AwaitLine = WhileSet<state::awaiting>;
/// The first Ctrl-C only sets interrupted(), which the caller polls.
using DeferInterrupts = WhileSet<state::deferred>;

}  // namespace cli
