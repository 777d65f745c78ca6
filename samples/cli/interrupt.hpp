// Ctrl-C: while an answer is being generated it stops after the current token, so that the text so
// far can be printed; otherwise, and the second time, it ends the program at once. Exit 130 always.
#pragma once

#include <unistd.h>
#include <csignal>

#include <stdexcept>

namespace cli {

/// Ends the program with exit code 130, after whatever was printed.
struct Interrupted : std::runtime_error {
  Interrupted() : std::runtime_error("interrupted") {}
};

namespace state {
inline volatile std::sig_atomic_t patient = 0, interrupts = 0;
inline void on_interrupt(int) {
  if (patient == 0 || interrupts != 0) _exit(130);
  interrupts = 1;
}
}  // namespace state

inline void handle_interrupts() { std::signal(SIGINT, state::on_interrupt); }
inline bool interrupted() { return state::interrupts != 0; }
inline void forget_interrupt() { state::interrupts = 0; }

/// While one of these lives, somebody looks at interrupted().
class PatientWithInterrupts {
 public:
  PatientWithInterrupts() { state::patient = 1; }
  PatientWithInterrupts(const PatientWithInterrupts&) = delete;
  PatientWithInterrupts& operator=(const PatientWithInterrupts&) = delete;
  ~PatientWithInterrupts() { state::patient = 0; }
};

}  // namespace cli
