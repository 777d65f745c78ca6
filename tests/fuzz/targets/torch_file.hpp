// Files of torch.save: every element of an accepted file must be within the file.
#pragma once

#include <set>

#include <idefics/io/torch_file.hpp>

#include "fuzz/target.hpp"

namespace fuzz {

inline void torch_file(Bytes input) {
  std::set<std::string> names;
  for (const idefics::TensorInfo& tensor : idefics::detail::parse_torch_file(input, "input")) {
    expect(names.insert(tensor.name).second, "a duplicate name");
    expect(tensor.begin <= tensor.end && tensor.end <= input.size(), "bytes outside the file");
    const auto* known = std::ranges::find(idefics::detail::format_dtypes, tensor.dtype_name,
                                          &idefics::detail::FormatDType::name);
    expect(known != std::end(idefics::detail::format_dtypes), "an unknown dtype");
    if (std::ranges::find(tensor.dims, 0) != tensor.dims.end()) continue;
    std::uint64_t count = 1, last = 0;
    for (std::size_t i = 0; i < tensor.dims.size(); ++i) {
      expect(tensor.dims[i] > 0, "a negative dimension");
      const auto dim = static_cast<std::uint64_t>(tensor.dims[i]);
      expect(dim <= input.size(), "a dimension longer than the file");
      count *= dim;
      expect(count <= input.size(), "more elements than the file has bytes");
      if (!tensor.strides.empty())
        last += (dim - 1) * static_cast<std::uint64_t>(tensor.strides[i]);
    }
    if (tensor.strides.empty()) last = count - 1;
    expect((last + 1) * known->bits / 8 == tensor.end - tensor.begin, "shape and bytes disagree");
  }
}

}  // namespace fuzz
