// Swapped dimensions and joined tensors, of every dtype.
#include <numeric>

#include "support/parity.hpp"

using namespace idefics;
using namespace testing;

namespace {

constexpr DType dtypes[] = {DType::u8,  DType::boolean, DType::f16, DType::bf16,
                            DType::f32, DType::i32,     DType::i64};

/// A tensor whose bytes are all different in the order of a sequence.
Tensor numbered(DType dtype, Shape shape, unsigned seed = 0) {
  Tensor t = Tensor::empty(dtype, shape);
  std::uint32_t state = seed + 1;
  for (std::size_t i = 0; i < t.bytes(); ++i)
    t.raw_mutable()[i] = static_cast<std::byte>((state = state * 1664525u + 1013904223u) >> 24);
  return t;
}

/// What operation(backend, out) writes to an `out` on the device, between bytes that it must not
/// touch; `offset` elements after a multiple of 64 bytes.
template <class Operation>
Tensor result_of(Backend& backend, DType dtype, Shape shape, const Operation& operation,
                 std::int64_t offset = 0) {
  constexpr std::int64_t guard = 64;
  const auto size = static_cast<std::int64_t>(size_of(dtype)), begin = guard + offset * size;
  const std::int64_t bytes = shape.count() * size;
  Tensor before = Tensor::empty(DType::u8, {begin + bytes + guard});
  std::fill_n(before.raw_mutable(), before.count(), std::byte{0xa5});
  Tensor all = backend.upload(before);
  if (all.raw() == before.raw()) all = before;  // the CPU returns the tensor itself
  operation(backend, Tensor::over(dtype, shape, all.raw_mutable() + begin, {}));
  const Tensor after = backend.download(all);
  std::int64_t touched = 0;
  for (std::int64_t i = 0; i < after.count(); ++i)
    touched += (i < begin || i >= begin + bytes) && after.raw()[i] != std::byte{0xa5};
  CHECK(touched == 0);
  Tensor result = Tensor::empty(dtype, shape);
  std::copy_n(after.raw() + begin, bytes, result.raw_mutable());
  return result;
}

auto transpose(const Tensor& x, Shape shape, int dim0, int dim1, std::int64_t offset = 0) {
  return [=](Backend& backend) {
    const Untouched inputs({x});
    const Tensor result = result_of(
        backend, x.dtype(), shape,
        [&](Backend& b, Tensor out) { b.transpose(out, b.upload(x), dim0, dim1); }, offset);
    CHECK(inputs.unchanged());
    return result;
  };
}

auto concat(const std::vector<Tensor>& parts, Shape shape, int dim, std::int64_t offset = 0) {
  return [=](Backend& backend) {
    const Untouched inputs(parts);
    std::vector<Tensor> uploaded;
    for (const Tensor& part : parts) uploaded.push_back(backend.upload(part));
    const Tensor result = result_of(
        backend, parts.front().dtype(), shape,
        [&](Backend& b, Tensor out) { b.concat(out, uploaded, dim); }, offset);
    CHECK(inputs.unchanged());
    return result;
  };
}

using Index = std::array<std::int64_t, Shape::max_rank>;

/// The element number of an index.
std::int64_t element(const Shape& shape, const Index& index) {
  std::int64_t at = 0;
  for (int i = 0; i < shape.rank(); ++i) at = at * shape[i] + index[static_cast<std::size_t>(i)];
  return at;
}

/// Calls body(index) for every index of a shape.
template <class Body>
void for_each_index(const Shape& shape, const Body& body) {
  Index index{};
  for (std::int64_t left = shape.count(); left > 0; --left) {
    body(index);
    for (int i = shape.rank() - 1; i >= 0; --i) {
      auto& at = index[static_cast<std::size_t>(i)];
      if (++at < shape[i]) break;
      at = 0;
    }
  }
}

void copy_element(Tensor& out, std::int64_t to, const Tensor& x, std::int64_t from) {
  const auto size = static_cast<std::int64_t>(size_of(x.dtype()));
  std::copy_n(x.raw() + from * size, size, out.raw_mutable() + to * size);
}

/// Element by element.
Tensor transposed(const Tensor& x, Shape shape, int i, int j) {
  Tensor out = Tensor::empty(x.dtype(), shape);
  for_each_index(x.shape(), [&](const Index& index) {
    Index to = index;
    std::swap(to[static_cast<std::size_t>(i)], to[static_cast<std::size_t>(j)]);
    copy_element(out, element(shape, to), x, element(x.shape(), index));
  });
  return out;
}

Tensor joined(const std::vector<Tensor>& parts, Shape shape, int dim) {
  Tensor out = Tensor::empty(parts.front().dtype(), shape);
  std::int64_t offset = 0;
  for (const Tensor& part : parts) {
    for_each_index(part.shape(), [&](const Index& index) {
      Index to = index;
      to[static_cast<std::size_t>(dim)] += offset;
      copy_element(out, element(shape, to), part, element(part.shape(), index));
    });
    offset += part.dim(dim);
  }
  return out;
}

}  // namespace

TEST_CASE("transpose turns matrices of every size of element and every length") {
  for (const DType dtype : dtypes)
    for (const std::int64_t rows : {1, 2, 15, 16, 17, 33, 100})
      for (const std::int64_t columns : {1, 3, 16, 31, 48, 70}) {
        INFO(name_of(dtype) << " " << rows << " x " << columns);
        const Tensor x = numbered(dtype, {rows, columns});
        const Shape shape{columns, rows};
        exactly(transpose(x, shape, 0, 1, 1), transposed(x, shape, 0, 1));
      }
}

TEST_CASE("transpose swaps any two dimensions of a tensor of any rank") {
  for (const DType dtype : {DType::u8, DType::bf16, DType::f32, DType::i64})
    for (const Shape& from : {Shape{7}, Shape{5, 3}, Shape{3, 4, 5}, Shape{2, 3, 20, 4},
                              Shape{2, 3, 4, 5, 3}, Shape{3, 1, 18, 2, 17}, Shape{2, 9, 1, 33, 2}})
      for (int i = 0; i < from.rank(); ++i)
        for (int j = 0; j < from.rank(); ++j) {
          INFO(name_of(dtype) << " " << from.to_string() << " " << i << " " << j);
          const Tensor x = numbered(dtype, from);
          const Shape shape = from.with(i, from[j]).with(j, from[i]);
          const Tensor expected = transposed(x, shape, i, j);
          exactly(transpose(x, shape, i, j), expected);
          exactly(transpose(x, shape, i - from.rank(), j), expected);
        }
}

TEST_CASE("transpose of a large matrix, and twice, gives every element its place") {
  const Tensor x = numbered(DType::f32, {700, 1100});
  const Tensor expected = transposed(x, {1100, 700}, 0, 1);
  exactly(transpose(x, {1100, 700}, 0, 1), expected);
  exactly(transpose(expected, {700, 1100}, 0, 1), x);
}

TEST_CASE("concat joins tensors along every dimension") {
  for (const DType dtype : dtypes)
    for (int dim = 0; dim < 3; ++dim)
      for (const std::int64_t offset : {0, 1, 2}) {
        INFO(name_of(dtype) << " along " << dim << " + " << offset);
        const Shape base{3, 5, 7};
        std::vector<Tensor> parts;
        for (const std::int64_t length : {2, 1, 0, 9, 4})
          parts.push_back(numbered(dtype, base.with(dim, length), static_cast<unsigned>(length)));
        const Shape shape = base.with(dim, 16);
        const Tensor expected = joined(parts, shape, dim);
        exactly(concat(parts, shape, dim, offset), expected);
        exactly(concat(parts, shape, dim - 3, offset), expected);
      }
}

TEST_CASE("concat copies long runs, and a single part") {
  const std::vector<Tensor> parts{numbered(DType::f32, {2, 40000}),
                                  numbered(DType::f32, {2, 9000})};
  exactly(concat(parts, {2, 49000}, 1), joined(parts, {2, 49000}, 1));
  exactly(concat({parts[0]}, {2, 40000}, 0), parts[0]);
  for (const Subject& subject : subjects()) {  // a list of tensors needs no array
    Backend& b = *subject.backend;
    Tensor out = b.empty(DType::i64, {3});
    b.concat(out,
             {b.upload(Tensor::from({std::int64_t{1}}, {1})),
              b.upload(Tensor::from({std::int64_t{2}, std::int64_t{3}}, {2}))},
             0);
    CHECK(different_bits(b.download(out),
                         Tensor::from({std::int64_t{1}, std::int64_t{2}, std::int64_t{3}}, {3})) ==
          "");
  }
}

TEST_CASE("transpose and concat refuse shapes, dimensions and dtypes that do not fit") {
  for (const Subject& subject : subjects()) {
    INFO("backend " << subject.name);
    Backend& b = *subject.backend;
    const auto of = [&](Shape shape, DType dtype = DType::f32) { return b.empty(dtype, shape); };
    const auto swapped = [&](Tensor out, const Tensor& x, int i, int j) {
      return error_of([&] { b.transpose(out, x, i, j); });
    };
    CHECK(swapped(of({3, 2}), of({2, 3}), 0, 1) == "nothing");
    CHECK(swapped(of({0, 2}), of({2, 0}), 0, 1) == "nothing");
    CHECK(swapped(of({2, 3}), of({2, 3}), 0, 1) == "shape_mismatch");
    CHECK(swapped(of({6}), of({2, 3}), 0, 1) == "shape_mismatch");
    CHECK(swapped(of({3, 2}), of({2, 3}), 0, 2) == "invalid_argument");
    CHECK(swapped(of({3, 2}), of({2, 3}), -3, 1) == "invalid_argument");
    CHECK(swapped(of({3, 2}, DType::i32), of({2, 3}), 0, 1) == "dtype_mismatch");
    const Tensor square = of({3, 3});
    CHECK(swapped(square, square, 0, 1) == "invalid_argument");

    const auto join = [&](Tensor out, std::vector<Tensor> parts, int dim) {
      return error_of([&] { b.concat(out, parts, dim); });
    };
    CHECK(join(of({2, 5}), {of({2, 3}), of({2, 2})}, 1) == "nothing");
    CHECK(join(of({2, 0}), {}, 1) == "nothing");
    CHECK(join(of({2, 5}), {}, 1) == "shape_mismatch");
    CHECK(join(of({2, 6}), {of({2, 3}), of({2, 2})}, 1) == "shape_mismatch");
    CHECK(join(of({2, 5}), {of({2, 3}), of({1, 2})}, 1) == "shape_mismatch");
    CHECK(join(of({2, 5}), {of({2, 3}), of({4})}, 1) == "shape_mismatch");
    CHECK(join(of({2, 5}), {of({2, 3}), of({2, 2}, DType::i32)}, 1) == "dtype_mismatch");
    CHECK(join(of({2, 5}), {of({2, 3}), of({2, 2})}, 2) == "invalid_argument");
  }
}
