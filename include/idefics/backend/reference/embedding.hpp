// Embedding from a table in two parts: IdeficsDecoupledEmbedding.
//
//   out[m] = table[id]             for id < V
//          = additional[id - V]    for V <= id < V + A
//
// Letters: M rows, D width, V vocabulary, A added tokens.
#pragma once

#include <idefics/backend/reference/values.hpp>

namespace idefics { inline namespace v0 { namespace reference {

inline void embedding(Tensor out /*[M,D]*/, std::span<const std::int32_t> ids /*[M]*/,
                      const Tensor& table /*[V,D]*/, const Tensor& additional /*[A,D] or empty*/) {
  const std::int64_t vocabulary = table.dim(0), width = table.dim(1);
  const std::int64_t added = additional ? additional.dim(0) : 0;
  std::int64_t m = 0;
  for (const std::int64_t id : ids) {
    require_index(id, vocabulary + added, ErrorCode::invalid_token_id, "token id");
    const Eigen::VectorXd row = id < vocabulary
                                    ? read(table, id * width, width)
                                    : read(additional, (id - vocabulary) * width, width);
    write(out, m++ * width, row);
  }
}

}}}  // namespace idefics::v0::reference
