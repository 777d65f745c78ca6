// safetensors: a second, naive reader must accept the same files and find the same tensors.
#pragma once

#include <algorithm>

#include <idefics/io/safetensors.hpp>

#include "fuzz/naive_safetensors.hpp"
#include "fuzz/target.hpp"

namespace fuzz {

inline void safetensors(Bytes input) {
  auto wanted = naive_safetensors(input);
  std::vector<NaiveTensor> found;
  try {
    const auto header = idefics::detail::parse_safetensors_header(input, "input");
    std::uint64_t data = 8;
    for (std::size_t i = 0; i < 8; ++i)
      data += static_cast<std::uint64_t>(input[i]) << (8 * i);  // the length of the header
    for (const idefics::TensorInfo& tensor : header.tensors)
      found.push_back({tensor.name,
                       tensor.dtype_name,
                       {tensor.dims.begin(), tensor.dims.end()},
                       tensor.begin - data,
                       tensor.end - data});
  } catch (const idefics::Error&) {
    expect(!wanted, "the naive reader accepts a file that is refused");
    throw;
  }
  expect(wanted.has_value(), "the naive reader refuses a file that is accepted");
  std::ranges::sort(found);
  std::ranges::sort(*wanted);
  expect(found == *wanted, "the naive reader finds other tensors");
}

}  // namespace fuzz
