// The translation unit that compiles the engine for this project's own programs (core/config.hpp).
#define IDEFICS_DEFINE_ENGINE
#include <idefics/idefics.hpp>
