// A command that an MPI launcher runs as several ranks: each makes the same calls with the same
// arguments. Rank 0 reads stdin and prints; the others are silent.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <idefics/ranks/communicator.hpp>

namespace cli {

/// Joins the other ranks, if a launcher started several. To be called once, before anything is read
/// or printed.
void join_ranks();

/// Ends this rank with the command's exit code; without a launcher, returns it. A rank that fails
/// tells the others, with the text of its error.
int leave_ranks(int code);

/// The ranks of the command; null without a launcher.
std::shared_ptr<idefics::Communicator> ranks();

/// Whether this process reads stdin and prints.
bool is_first_rank();

/// Sets `value` on every rank to that of rank 0.
void share(std::string& value);
void share(bool& value);

/// What `fetch` returns on rank 0, on every rank: a server may answer each request in another way.
std::vector<std::byte> fetch_on_first_rank(const std::function<std::vector<std::byte>()>& fetch);

/// What rank 0 would have printed about an error is sent to it from others.
void remember_error(const std::string& text);

}  // namespace cli
