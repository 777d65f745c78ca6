// A kernel that nvcc warns of.
#pragma once

__global__ void unused_variable() { int never_read; }
