// Operations without weights on a split backend: operands of several devices meet where the newest
// was written, with the bits of one device.
#include <functional>

#include <idefics/backend/split_backend.hpp>

#include "support/own_memory.hpp"
#include "support/parity.hpp"

using namespace idefics;
using namespace testing;

namespace {

/// Two devices with memory of their own, in addition to the CPU.
struct Machine {
  std::shared_ptr<OwnMemory> first = std::make_shared<OwnMemory>(make_cpu_backend()),
                             second = std::make_shared<OwnMemory>(make_cpu_backend());
  std::shared_ptr<SplitBackend> split =
      std::make_shared<SplitBackend>(std::vector<SplitBackend::Device>{{"a", first}, {"b", second}},
                                     SplitBackend::Map{{"a", 0}, {"b", 1}});
};

using Operation = std::function<void(Backend&, Tensor out, const Tensor& x, const Tensor& y)>;

/// Runs `operation` on the CPU, and with x on one device and y on the other, each as a weight and as
/// the result of an earlier operation.
void require_same(DType dtype, Shape shape, const Operation& operation) {
  const Tensor x = tensor({4, 6}, normals(24, 1)), y = tensor({4, 6}, normals(24, 2));
  const auto cpu = make_cpu_backend();
  const Tensor expected = cpu->empty(dtype, shape);
  operation(*cpu, expected, x, y);
  const Machine machine;
  SplitBackend& split = *machine.split;
  for (const bool swapped : {false, true}) {
    const Tensor left = split.upload(x, swapped ? "b" : "a"),
                 right = split.upload(y, swapped ? "a" : "b");
    const Tensor out = split.empty(dtype, shape);
    operation(split, out, left, right);
    CHECK(different_bits(split.download(out), expected) == "");
    Tensor copy = split.empty(DType::f32, y.shape());
    split.scale(copy, right, 1.0f);
    operation(split, out, left, copy);
    CHECK(different_bits(split.download(out), expected) == "");
  }
}

}  // namespace

TEST_CASE("operations without weights give the same bits on a split backend") {
  const auto f32 = DType::f32;
  require_same(f32, {4, 6}, [](Backend& b, Tensor out, const Tensor& x, const Tensor& y) {
    b.multiply(out, x, y);
    b.scale(out, out, 3.0f);
  });
  require_same(f32, {4, 6}, [](Backend& b, Tensor out, const Tensor& x, const Tensor& y) {
    b.add(out, x, y);
    b.softmax(out, out);
  });
  require_same(f32, {4, 4}, [](Backend& b, Tensor out, const Tensor& x, const Tensor& y) {
    b.matmul(out, x, y.reshape({6, 4}));
  });
  require_same(f32, {6, 4}, [](Backend& b, Tensor out, const Tensor& x, const Tensor& y) {
    b.transpose(out, x, 0, 1);
    b.add(out, out, y);
  });
  require_same(f32, {4, 15}, [](Backend& b, Tensor out, const Tensor& x, const Tensor& y) {
    b.concat(out, {x, y, y.slice(0, 2).reshape({4, 3})}, 1);
  });
  require_same(DType::i64, {4}, [](Backend& b, Tensor out, const Tensor& x, const Tensor& y) {
    Tensor sum = b.empty(DType::f32, {4, 6});
    b.add(sum, x, y);
    b.argmax(out, sum);
  });
}

TEST_CASE("operands move to the device of the newest of them") {
  const Machine machine;
  SplitBackend& split = *machine.split;
  const Tensor x = split.upload(tensor({4, 6}, normals(24, 1)), "a"),
               y = split.upload(tensor({4, 6}, normals(24, 2)), "b");
  Tensor copy = split.empty(DType::f32, {4, 6}), joined = split.empty(DType::f32, {8, 6});
  split.scale(copy, y, 2.0f);  // on b
  CHECK(split.moved_bytes() == 0);
  split.concat(joined, {x, copy}, 0);  // also on b
  CHECK(split.moved_bytes() == x.bytes());
  Tensor product = split.empty(DType::f32, {4, 4});
  split.matmul(product, x, copy.reshape({6, 4}));
  CHECK(split.moved_bytes() == x.bytes());
  CHECK(machine.second->written_bytes == x.bytes());
  CHECK(machine.first->written_bytes == 0);
}
