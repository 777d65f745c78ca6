// The one unit of this project's own programs that compiles the CPU kernels (kernels.hpp says how).
#define IDEFICS_DEFINE_KERNELS
#include <idefics/backend/cpu/kernels.hpp>
