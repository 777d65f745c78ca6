// The library's version and its configuration macros.
//
//   IDEFICS_NO_THREADS  run every loop on the calling thread
//   IDEFICS_NO_LIBJPEG  refuse JPEG pictures with a typed error
//   IDEFICS_NO_WEBP     refuse WebP pictures with a typed error
//   IDEFICS_NO_TIFF     refuse compressed TIFF pictures with a typed error
//   IDEFICS_NO_AVIF     refuse AVIF pictures with a typed error
//   IDEFICS_NO_HEIF     refuse HEIC pictures with a typed error
//   IDEFICS_NO_CURL     refuse pictures from http and https URLs with a typed error
//   IDEFICS_CUDA        the program is linked with the CUDA backend; the CMake target idefics::cuda
//                       sets it
//   IDEFICS_MPI         the program is linked with MPI; the CMake target idefics::mpi defines it
//   IDEFICS_EXTERN_ENGINE, IDEFICS_DEFINE_ENGINE
//                       for programs of several translation units, since the engine is slow to
//                       compile. Define the first in every unit: kernels, tokenizer, pictures,
//                       processor, model and plan are then only declared, with no more includes
//                       than that needs. Define the second in one unit that includes
//                       <idefics/idefics.hpp>: they are compiled there and nowhere else.
//
// Everything is in namespace `idefics`, inside an inline namespace that names the ABI, so that two
// versions in one program link as separate symbols instead of mixing silently.
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
