// Replaces the header of the CUDA driver.
#pragma once

#include "support/cuda_on_cpu/tensor_map.hpp"
