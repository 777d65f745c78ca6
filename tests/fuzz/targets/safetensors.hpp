// safetensors: an accepted file must satisfy the format's rules, which are checked here again,
// naively.
#pragma once

#include <set>

#include <idefics/io/safetensors.hpp>

#include "fuzz/target.hpp"

namespace fuzz {

inline void safetensors(Bytes input) {
  const auto header = idefics::detail::parse_safetensors_header(input, "input");
  std::uint64_t at = 8;
  for (std::size_t i = 0; i < 8; ++i)
    at += static_cast<std::uint64_t>(input[i]) << (8 * i);  // the length of the header
  std::set<std::string_view> names;
  for (const idefics::TensorInfo& tensor : header.tensors) {
    expect(names.insert(tensor.name).second, "a duplicate name");
    expect(tensor.begin == at && tensor.end >= at, "tensors are not contiguous");
    at = tensor.end;
    const auto* known = std::ranges::find(idefics::detail::format_dtypes, tensor.dtype_name,
                                          &idefics::detail::FormatDType::name);
    expect(known != std::end(idefics::detail::format_dtypes), "an unknown dtype");
    __extension__ unsigned __int128 bits = known->bits;
    bool empty = false;
    for (const std::int64_t dim : tensor.dims) {
      expect(dim >= 0, "a negative dimension");
      empty = empty || dim == 0;
      if (bits < (__extension__ static_cast<unsigned __int128>(1) << 64))
        bits *= static_cast<std::uint64_t>(dim);
    }
    if (empty) bits = 0;
    expect(bits == __extension__ static_cast<unsigned __int128>(tensor.end - tensor.begin) * 8,
           "shape and bytes disagree");
  }
  expect(at == input.size(), "the tensors do not end where the file ends");
}

}  // namespace fuzz
