// The translation unit of these programs that compiles model and kernels (see core/config.hpp).
#define IDEFICS_DEFINE_ENGINE
#include <idefics/model.hpp>
