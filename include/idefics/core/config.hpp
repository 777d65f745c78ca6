// The library's version and the table of its configuration macros.
//
//   IDEFICS_NO_OPENMP   run every loop on the calling thread, even where OpenMP is found
//   IDEFICS_NO_LIBJPEG  decode JPEG with stb_image (pixels may differ from Pillow by a few levels)
//   IDEFICS_NO_CURL     refuse pictures from http and https URLs with a typed error
//   IDEFICS_CUDA       set by the CMake target idefics::cuda: the program is linked with that backend
//   IDEFICS_EXTERN_ENGINE, IDEFICS_DEFINE_ENGINE  for programs of many units, since the engine takes
//                       long to compile: the first in all units declares kernels, tokenizer,
//                       pictures, processor, model and plan, and includes no more than that takes;
//                       the second, in one unit that includes <idefics/idefics.hpp>, has them
//                       compiled there and nowhere else
//
// Everything lives in `idefics`, inside an inline namespace that names the ABI: two versions in one
// program then link side by side instead of mixing silently.
#pragma once

#define IDEFICS_VERSION_MAJOR 0
#define IDEFICS_VERSION_MINOR 1
#define IDEFICS_VERSION_PATCH 0
#define IDEFICS_VERSION "0.1.0"

#if defined(IDEFICS_DEFINE_ENGINE)
#define IDEFICS_ENGINE_INLINE
#define IDEFICS_ENGINE_BODIES 1
#elif defined(IDEFICS_EXTERN_ENGINE)
#define IDEFICS_ENGINE_INLINE
#define IDEFICS_ENGINE_BODIES 0
#else
#define IDEFICS_ENGINE_INLINE inline
#define IDEFICS_ENGINE_BODIES 1
#endif
