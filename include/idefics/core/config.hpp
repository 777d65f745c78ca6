// The library's version and the table of its configuration macros.
//
//   IDEFICS_NO_OPENMP   run every loop on the calling thread, even where OpenMP is found
//   IDEFICS_NO_LIBJPEG  decode JPEG with stb_image (pixels may differ from Pillow by a few levels)
//   IDEFICS_NO_CURL     refuse pictures from http and https URLs with a typed error
//   IDEFICS_EXTERN_KERNELS, IDEFICS_DEFINE_KERNELS  compile the CPU kernels in one unit of many
//                       (backend/cpu/kernels.hpp)
//
// Everything lives in `idefics`, inside an inline namespace that names the ABI: two versions in one
// program then link side by side instead of mixing silently.
#pragma once

#define IDEFICS_VERSION_MAJOR 0
#define IDEFICS_VERSION_MINOR 1
#define IDEFICS_VERSION_PATCH 0
#define IDEFICS_VERSION "0.1.0"
