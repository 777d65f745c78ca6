// The one unit of these programs that compiles model and kernels (core/config.hpp says how).
#define IDEFICS_DEFINE_ENGINE
#include <idefics/model.hpp>
