// Replaces CUDA's header of this name when a program is compiled by g++ or clang++ alone.
#pragma once

#include "support/cuda_on_cpu/cluster.hpp"
#include "support/cuda_on_cpu/mbarrier.hpp"
#include "support/cuda_on_cpu/runtime.hpp"
#include "support/cuda_on_cpu/tensor_map.hpp"
#include "support/cuda_on_cpu/warp.hpp"
#include "support/cuda_on_cpu/warpgroup.hpp"

// Kernels count in int, like threadIdx, and compute the sizes of arrays from it.
#pragma GCC diagnostic ignored "-Wsign-conversion"
