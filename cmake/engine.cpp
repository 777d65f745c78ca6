// The one unit of this project's own programs that compiles the engine (core/config.hpp says how).
#define IDEFICS_DEFINE_ENGINE
#include <idefics/idefics.hpp>
