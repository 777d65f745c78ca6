// Stands in for the header of CUDA's driver.
#pragma once

#include "support/cuda_on_cpu/tensor_map.hpp"
