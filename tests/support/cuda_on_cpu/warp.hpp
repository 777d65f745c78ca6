// What lanes of a warp or block do together, under CUDA's own names, and the instructions that
// cuda/device.cuh wraps. Each call knows its source line, so that mismatched calls can be reported.
#pragma once

#include <bit>
#include <cstring>
#include <type_traits>

#include "support/cuda_on_cpu/block.hpp"
#include "support/cuda_on_cpu/runtime.hpp"
#include "support/cuda_on_cpu/tensor_core.hpp"

namespace cuda_on_cpu {

template <class T>
struct Shuffle {
  T value;
  unsigned source;  // lane of the warp
  T result;
};

template <class T>
T shuffle(const char* op, unsigned mask, T value, unsigned source, Site site) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8, "CUDA shuffles 4 or 8 bytes");
  if ((mask >> source & 1) == 0)
    block().fail(std::string(op) + " at " + name_of(site) + " reads lane " +
                 std::to_string(source) + ", which the mask does not include");
  Shuffle<T> request{value, source, value};
  block().meet(
      op, mask, &request,
      [](const std::array<void*, 32>& lanes, unsigned all) {
        for (unsigned l = 0; l < 32; ++l) {
          if ((all >> l & 1) == 0) continue;
          auto* reader = static_cast<Shuffle<T>*>(lanes[l]);
          reader->result = static_cast<const Shuffle<T>*>(lanes[reader->source])->value;
        }
      },
      site);
  return request.result;
}

inline unsigned lane_of_warp() { return block().current() % 32; }

struct Vote {
  bool yes;
  unsigned result;
};

inline unsigned vote(const char* op, unsigned mask, bool yes, Site site) {
  Vote request{yes, 0};
  block().meet(
      op, mask, &request,
      [](const std::array<void*, 32>& lanes, unsigned all) {
        unsigned result = 0;
        for (unsigned l = 0; l < 32; ++l)
          if ((all >> l & 1) && static_cast<const Vote*>(lanes[l])->yes) result |= 1u << l;
        for (unsigned l = 0; l < 32; ++l)
          if (all >> l & 1) static_cast<Vote*>(lanes[l])->result = result;
      },
      site);
  return request.result;
}

/// Checks the address of a vector of `bytes`: a GPU faults if it is misaligned.
inline void check_aligned(const void* p, std::size_t bytes, Site site) {
  if (reinterpret_cast<std::uintptr_t>(p) % bytes != 0)
    block().fail("misaligned access to " + std::to_string(bytes) + " bytes at " + name_of(site));
}

/// Records a write of a lane to p if that is in shared memory (async_proxy.hpp).
inline void note_shared_write(const void* p, std::size_t bytes) {
  if (block().shared().holds(p, bytes))
    block().async_proxy().note(block().shared().offset_of(p), bytes, block().current());
}

inline void check_store(const void* p, std::size_t bytes, Site site) {
  check_aligned(p, bytes, site);
  note_shared_write(p, bytes);
}

inline void copy_async(void* to, const void* from, std::size_t bytes, std::size_t read, Site site) {
  check_aligned(to, bytes, site);
  if (read != 0) check_aligned(from, bytes, site);
  if (read > bytes) block().fail("cp.async reads more than it writes at " + name_of(site));
  if (!block().shared().holds(to, bytes))
    block().fail("cp.async writes outside shared memory at " + name_of(site));
  block().lane().uncommitted.push_back({to, from, bytes, read});
}

inline void commit_copies() {
  Lane& lane = block().lane();
  lane.groups.push_back(std::move(lane.uncommitted));
  lane.uncommitted.clear();
}

/// Executes all groups but the newest `left`, and no earlier, so that a missing wait is detected.
inline void wait_for_copies(std::size_t left) {
  auto& groups = block().lane().groups;
  while (groups.size() > left) {
    for (const Copy& c : groups.front()) {
      if (c.read != 0) std::memcpy(c.to, c.from, c.read);
      std::memset(static_cast<std::byte*>(c.to) + c.read, 0, c.bytes - c.read);
      note_shared_write(c.to, c.bytes);
    }
    groups.erase(groups.begin());
  }
}

struct MatrixLoad {
  const void* row;
  std::uint32_t* result;
  int matrices;
  bool transposed;
};

/// Lane 8 j + i passes the address of row i of matrix j, eight halves; each lane gets two
/// neighbours of each matrix.
inline void load_matrices(std::uint32_t* result, int matrices, bool transposed, const void* row,
                          Site site) {
  const bool names_a_row = lane_of_warp() < static_cast<unsigned>(matrices) * 8;
  if (names_a_row) check_aligned(row, 16, site);
  if (names_a_row && !block().shared().holds(row, 16))
    block().fail("ldmatrix reads outside shared memory at " + name_of(site));
  MatrixLoad request{row, result, matrices, transposed};
  block().meet(
      transposed ? "ldmatrix.trans" : "ldmatrix", 0xffffffffu, &request,
      [](const std::array<void*, 32>& lanes, unsigned) {
        const auto at = [&](unsigned j, unsigned r, unsigned c) {
          std::uint16_t half;
          const auto* from = static_cast<const MatrixLoad*>(lanes[j * 8 + r])->row;
          std::memcpy(&half, static_cast<const std::byte*>(from) + 2 * c, 2);
          return static_cast<std::uint32_t>(half);
        };
        for (unsigned l = 0; l < 32; ++l) {
          const auto* lane = static_cast<const MatrixLoad*>(lanes[l]);
          const unsigned g = l / 4, t = 2 * (l % 4);
          for (unsigned j = 0; j < static_cast<unsigned>(lane->matrices); ++j)
            lane->result[j] = lane->transposed ? at(j, t, g) | at(j, t + 1, g) << 16
                                               : at(j, g, t) | at(j, g, t + 1) << 16;
        }
      },
      site);
}

struct MatrixProduct {
  float* d;
  const std::uint32_t *a, *b;
};

/// d[16,8] += a[16,16] b[16,8], summed in f32 by `tensor_core_sum`. For the positions of the
/// elements see the PTX ISA, "Matrix fragments for mma.m16n8k16".
template <class T>
void multiply_matrices(const char* op, float* d, const std::uint32_t* a, const std::uint32_t* b,
                       Site site) {
  MatrixProduct request{d, a, b};
  block().meet(
      op, 0xffffffffu, &request,
      [](const std::array<void*, 32>& lanes, unsigned) {
        T rows[16][16], columns[8][16];
        for (unsigned l = 0; l < 32; ++l) {
          const auto* lane = static_cast<const MatrixProduct*>(lanes[l]);
          const unsigned g = l / 4, t = 2 * (l % 4);
          const auto half = [](std::uint32_t pair, unsigned i) {
            return T{static_cast<std::uint16_t>(pair >> (16 * i))};
          };
          for (unsigned i = 0; i < 2; ++i) {
            for (unsigned r = 0; r < 4; ++r)
              rows[g + 8 * (r % 2)][t + i + 8 * (r / 2)] = half(lane->a[r], i);
            for (unsigned r = 0; r < 2; ++r) columns[g][t + i + 8 * r] = half(lane->b[r], i);
          }
        }
        std::array<Factors, 16> of_a;
        std::array<Factors, 8> of_b;
        for (unsigned r = 0; r < 16; ++r) of_a[r] = Factors::of(rows[r]);
        for (unsigned c = 0; c < 8; ++c) of_b[c] = Factors::of(columns[c]);
        const TensorCore core = tensor_core_of(simulated.major);
        for (unsigned l = 0; l < 32; ++l)
          for (unsigned r = 0; r < 4; ++r) {
            float& sum = static_cast<const MatrixProduct*>(lanes[l])->d[r];
            sum = tensor_core_sum(core, sum, of_a[l / 4 + 8 * (r / 2)], of_b[2 * (l % 4) + r % 2]);
          }
      },
      site);
}

}  // namespace cuda_on_cpu

inline void __syncthreads(cuda_on_cpu::Site site = cuda_on_cpu::Site::current()) {
  const unsigned threads = blockDim.x * blockDim.y * blockDim.z;
  cuda_on_cpu::block().barrier(0, threads, true, true, "__syncthreads", site);
}
inline void __syncwarp(unsigned mask = 0xffffffffu,
                       cuda_on_cpu::Site site = cuda_on_cpu::Site::current()) {
  cuda_on_cpu::block().meet(
      "__syncwarp", mask, nullptr, [](const auto&, unsigned) {}, site);
}

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32,
              cuda_on_cpu::Site site = cuda_on_cpu::Site::current()) {
  const unsigned w = static_cast<unsigned>(width), own = cuda_on_cpu::lane_of_warp();
  return cuda_on_cpu::shuffle("__shfl_sync", mask, value,
                              own / w * w + static_cast<unsigned>(source) % w, site);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32,
                  cuda_on_cpu::Site site = cuda_on_cpu::Site::current()) {
  const unsigned w = static_cast<unsigned>(width), own = cuda_on_cpu::lane_of_warp();
  const unsigned source = own ^ static_cast<unsigned>(lanes);
  return cuda_on_cpu::shuffle("__shfl_xor_sync", mask, value, source / w > own / w ? own : source,
                              site);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32,
                   cuda_on_cpu::Site site = cuda_on_cpu::Site::current()) {
  const unsigned w = static_cast<unsigned>(width), own = cuda_on_cpu::lane_of_warp();
  return cuda_on_cpu::shuffle("__shfl_down_sync", mask, value,
                              own % w + delta < w ? own + delta : own, site);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32,
                 cuda_on_cpu::Site site = cuda_on_cpu::Site::current()) {
  const unsigned w = static_cast<unsigned>(width), own = cuda_on_cpu::lane_of_warp();
  return cuda_on_cpu::shuffle("__shfl_up_sync", mask, value, own % w >= delta ? own - delta : own,
                              site);
}

inline unsigned __ballot_sync(unsigned mask, int yes,
                              cuda_on_cpu::Site site = cuda_on_cpu::Site::current()) {
  return cuda_on_cpu::vote("__ballot_sync", mask, yes != 0, site);
}
inline int __any_sync(unsigned mask, int yes,
                      cuda_on_cpu::Site site = cuda_on_cpu::Site::current()) {
  return cuda_on_cpu::vote("__any_sync", mask, yes != 0, site) != 0;
}
inline int __all_sync(unsigned mask, int yes,
                      cuda_on_cpu::Site site = cuda_on_cpu::Site::current()) {
  return cuda_on_cpu::vote("__all_sync", mask, yes != 0, site) == mask;
}

/// Lanes take turns, so this is atomic. For integers only, whose sums do not depend on the order.
template <class T>
T atomicAdd(T* p, T value) {
  static_assert(std::is_integral_v<T>, "sums of floats would depend on the order of lanes");
  const T before = *p;
  *p = before + value;
  return before;
}
template <class T>
T atomicMax(T* p, T value) {
  static_assert(std::is_integral_v<T>);
  const T before = *p;
  *p = before > value ? before : value;
  return before;
}
inline void __threadfence() {}
template <class T>
T __ldg(const T* p) {
  cuda_on_cpu::check_aligned(p, alignof(T), cuda_on_cpu::Site::current());
  return *p;
}
/// sum + the products of the four signed bytes of a and b.
inline int __dp4a(int a, int b, int sum) {
  for (int shift = 0; shift < 32; shift += 8)
    sum += static_cast<std::int8_t>(a >> shift) * static_cast<std::int8_t>(b >> shift);
  return sum;
}
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
