// Kernel launches.
#pragma once

#include "stream.cuh"

namespace idefics { inline namespace v0 { namespace cuda {

/// Launches kernel(args…) with grid × block threads, in the order of `stream`; see Launch. An empty
/// grid launches nothing. Arguments are comparable, so that the stream recognizes a repeated pass.
template <class... P>
void launch(Stream& stream, dim3 grid, dim3 block, std::size_t shared_bytes, void (*kernel)(P...),
            std::type_identity_t<P>... args) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  stream.add(KernelWork<P...>({grid, block, shared_bytes}, kernel, {args...}));
}

/// The same in clusters of blocks, of which the grid consists.
template <class... P>
void launch_clusters(Stream& stream, dim3 grid, dim3 block, dim3 cluster, std::size_t shared_bytes,
                     void (*kernel)(P...), std::type_identity_t<P>... args) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  stream.add(KernelWork<P...>({grid, block, shared_bytes, cluster}, kernel, {args...}));
}

/// The same on a native CUDA stream, immediately.
template <class... P>
void launch(cudaStream_t stream, dim3 grid, dim3 block, std::size_t shared_bytes,
            void (*kernel)(P...), std::type_identity_t<P>... args) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  KernelWork<P...>({grid, block, shared_bytes}, kernel, {args...}).start(stream);
}

/// A one-dimensional grid with one thread for each of `count` work items.
inline dim3 blocks_for(std::int64_t count, unsigned threads) {
  return {static_cast<unsigned>(ceil_div(count, threads))};
}

}}}  // namespace idefics::v0::cuda
