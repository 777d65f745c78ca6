// A planted fault: a kernel that nvcc warns about.
#pragma once

__global__ void unused_variable() { int never_read; }
