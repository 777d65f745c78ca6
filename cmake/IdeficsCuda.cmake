# idefics::cuda: the CUDA backend, compiled from cuda/cuda_backend.cu. Programs that link it can use
# make_cuda_backend() and device "cuda"; in others, these report that the build has no CUDA backend.
#
#   IDEFICS_CUDA=AUTO   built if there are nvcc and an NVIDIA driver
#   IDEFICS_CUDA=ON     built, or configuration fails
#   IDEFICS_CUDA=OFF    not built
#
# It needs CMake 3.24 and the CUDA Toolkit 12.5 (IdeficsCudaRequirements.cmake). The default of
# CMAKE_CUDA_ARCHITECTURES is "native" if this machine has an NVIDIA driver, else all supported
# architectures. On Hopper, "native" means 90a: 90 has no wgmma.
set(IDEFICS_CUDA AUTO CACHE STRING "Build the CUDA backend: AUTO, ON or OFF")
set_property(CACHE IDEFICS_CUDA PROPERTY STRINGS AUTO ON OFF)

find_program(IDEFICS_NVCC nvcc HINTS /usr/local/cuda/bin)
mark_as_advanced(IDEFICS_NVCC)
set(has_driver OFF)
if(EXISTS /proc/driver/nvidia/version OR EXISTS /dev/nvidiactl)
  set(has_driver ON)
endif()
if(IDEFICS_CUDA STREQUAL "AUTO" AND NOT (IDEFICS_NVCC AND has_driver))
  return()
elseif(NOT IDEFICS_CUDA)
  return()
endif()

include(${CMAKE_CURRENT_LIST_DIR}/IdeficsCudaRequirements.cmake)
if(IDEFICS_NVCC AND NOT CMAKE_CUDA_COMPILER)
  set(CMAKE_CUDA_COMPILER ${IDEFICS_NVCC})
endif()
idefics_nvcc_release(release "${CMAKE_CUDA_COMPILER}")
idefics_missing_for_cuda(missing ${CMAKE_VERSION} "${release}")
if(missing AND IDEFICS_CUDA STREQUAL "AUTO")
  message(STATUS "IDEFICS_CUDA=AUTO: not built, ${missing}")
  return()
elseif(missing)
  message(FATAL_ERROR "IDEFICS_CUDA=ON: ${missing}")
endif()
if(NOT CMAKE_CUDA_ARCHITECTURES AND has_driver)
  set(CMAKE_CUDA_ARCHITECTURES native)
elseif(NOT CMAKE_CUDA_ARCHITECTURES)
  idefics_all_architectures(CMAKE_CUDA_ARCHITECTURES "${release}")
endif()
if(CMAKE_CUDA_ARCHITECTURES STREQUAL "native")
  idefics_native_architectures(CMAKE_CUDA_ARCHITECTURES nvidia-smi)
endif()
enable_language(CUDA)
find_package(CUDAToolkit REQUIRED)
add_library(idefics_cuda STATIC ${PROJECT_SOURCE_DIR}/cuda/cuda_backend.cu)
add_library(idefics::cuda ALIAS idefics_cuda)
set_target_properties(idefics_cuda PROPERTIES EXPORT_NAME cuda)
target_compile_definitions(idefics_cuda PUBLIC IDEFICS_CUDA)
target_link_libraries(idefics_cuda PUBLIC idefics_core CUDA::cudart_static)
# Products and sums are fused only where the source says fmaf (docs/determinism.md). The C++
# standard is set by flag because CMake 3.25 does not know that CUDA 13 supports it.
target_compile_options(idefics_cuda PRIVATE -std=c++20 -fmad=false)
