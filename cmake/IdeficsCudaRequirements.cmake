# What the CUDA backend needs from CMake, the toolkit and the GPU of this machine; functions without
# side effects, which tests/cuda/requirements.cmake calls.

# The release of a compiler such as "13.0"; empty if it is not nvcc.
function(idefics_nvcc_release result nvcc)
  execute_process(COMMAND ${nvcc} --version OUTPUT_VARIABLE text ERROR_QUIET RESULT_VARIABLE status)
  set(release "")
  if(status EQUAL 0 AND text MATCHES "release ([0-9]+\\.[0-9]+)")
    set(release ${CMAKE_MATCH_1})
  endif()
  set(${result} "${release}" PARENT_SCOPE)
endfunction()

# What these versions of CMake and nvcc lack; empty if nothing. CMake 3.24 is the first that knows
# "native"; CUDA 12.5 is the first with cudaGetDriverEntryPointByVersion.
function(idefics_missing_for_cuda result cmake_version release)
  set(missing "")
  if(cmake_version VERSION_LESS 3.24)
    set(missing "the CUDA backend needs CMake 3.24, and this is CMake ${cmake_version}")
  elseif(release AND release VERSION_LESS 12.5)
    set(missing "the CUDA backend needs the CUDA Toolkit 12.5, and nvcc is of ${release}")
  endif()
  set(${result} "${missing}" PARENT_SCOPE)
endfunction()

# All architectures that the backend supports and nvcc knows: CUDA 12.8 is the first with 100.
function(idefics_all_architectures result release)
  set(all 80 86 89 90a)
  if(NOT release OR release VERSION_GREATER_EQUAL 12.8)
    list(APPEND all 100)
  endif()
  set(${result} "${all}" PARENT_SCOPE)
endfunction()

# The architectures of this machine's GPUs, 90a for compute capability 9.0, because wgmma and
# setmaxnreg exist only there. "native" if nvidia-smi cannot tell: CMake then asks the GPUs itself,
# but compiles for 90.
function(idefics_native_architectures result nvidia_smi)
  execute_process(COMMAND ${nvidia_smi} --query-gpu=compute_cap --format=csv,noheader
    OUTPUT_VARIABLE text ERROR_QUIET RESULT_VARIABLE status)
  set(found "")
  if(status EQUAL 0)
    string(REGEX MATCHALL "[0-9]+\\.[0-9]" found "${text}")
    list(REMOVE_DUPLICATES found)
    list(TRANSFORM found REPLACE "\\." "")
    list(TRANSFORM found REPLACE "^90$" "90a")
  endif()
  if(NOT found)
    set(found native)
  endif()
  set(${result} "${found}" PARENT_SCOPE)
endfunction()
