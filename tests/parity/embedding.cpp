// Embedding from a table in two parts, at any alignment and in any dtype.
#include "support/parity.hpp"

using namespace idefics;
using namespace testing;

namespace {

using Ids = std::vector<std::int32_t>;

auto embedding(const Ids& ids, const Tensor& table, const Tensor& additional) {
  return [=](Backend& backend) {
    const Untouched inputs({table, additional});
    const Output out(backend, {static_cast<std::int64_t>(ids.size()), table.dim(1)});
    backend.embedding(out.tensor_on_device(), ids, backend.upload(table),
                      additional ? backend.upload(additional) : Tensor());
    CHECK(inputs.unchanged());
    return out.values();
  };
}

/// The exact values of rows of two concatenated tables.
Tensor rows_of(const Ids& ids, const Tensor& table, const Tensor& additional) {
  const std::int64_t width = table.dim(1), first = table.dim(0);
  Values values;
  for (const std::int32_t id : ids)
    for (std::int64_t i = 0; i < width; ++i)
      values.push_back(id < first ? detail::element_as_f32(table, id * width + i)
                                  : detail::element_as_f32(additional, (id - first) * width + i));
  return tensor({static_cast<std::int64_t>(ids.size()), width}, values);
}

}  // namespace

TEST_CASE("each id reads its row, additional ids that of the second table") {
  const Ids ids{10, 0, 6, 7, 9, 6, 8};
  std::size_t offset = 0;
  for (const std::int64_t width : {1, 2, 15, 16, 17, 31, 32, 33, 47, 48, 49, 5000})
    for (const DType dtype : weight_dtypes)
      for (const DType added : weight_dtypes) {
        INFO("D=" << width << " tables " << name_of(dtype) << " and " << name_of(added)
                  << " at offset " << offset % 4);
        const Tensor table = stored(dtype, {7, width}, normals(7 * width, 1), offset++ % 4);
        const Tensor additional = stored(added, {4, width}, normals(4 * width, 2), offset % 4);
        exactly(embedding(ids, table, additional), rows_of(ids, table, additional));
      }
}

TEST_CASE("the second table is optional") {
  const Tensor table = stored(DType::bf16, {5, 20}, normals(100, 1), 1);
  const Ids ids{4, 4, 0, 2};
  exactly(embedding(ids, table, {}), rows_of(ids, table, {}));
}

TEST_CASE("subnormal values of every dtype are kept") {
  const Values tiny{0x1p-149f, -0x1p-130f, 0x1p-24f, -0x1p-15f, 0.0f};
  for (const DType dtype : weight_dtypes) {
    INFO(name_of(dtype));
    const Tensor table = stored(dtype, {1, 5}, tiny, 1);
    exactly(embedding({0}, table, {}), rows_of({0}, table, {}));
  }
}

TEST_CASE("ids outside both tables and shapes that do not fit are refused") {
  for (const Subject& subject : subjects()) {
    const auto zeros = [&](Shape shape) {
      return subject.backend->upload(Tensor::zeros(DType::f32, shape));
    };
    INFO("backend " << subject.name);
    const auto call = [&](Shape out, const Ids& ids, const Tensor& additional) {
      return error_of([&] {
        subject.backend->embedding(zeros(out), ids, zeros({7, 3}), additional);
      });
    };
    CHECK(call({2, 3}, {6, 8}, zeros({2, 3})) == "nothing");
    CHECK(call({0, 3}, {}, zeros({2, 3})) == "nothing");
    CHECK(call({2, 3}, {6, 9}, zeros({2, 3})) == "invalid_token_id");
    CHECK(call({2, 3}, {6, 7}, {}) == "invalid_token_id");
    CHECK(call({2, 3}, {6, -1}, zeros({2, 3})) == "invalid_token_id");
    CHECK(call({2, 3}, {6}, zeros({2, 3})) == "shape_mismatch");
    CHECK(call({2, 4}, {6, 6}, zeros({2, 3})) == "shape_mismatch");
  }
}
