# idefics::mpi: what programs link whose ranks are started by an MPI launcher (ranks/mpi_ranks.hpp).
#
#   IDEFICS_MPI=AUTO   defined if MPI is installed
#   IDEFICS_MPI=ON     defined, or configuration fails
#   IDEFICS_MPI=OFF    not defined
set(IDEFICS_MPI AUTO CACHE STRING "Define the target idefics::mpi: AUTO, ON or OFF")
set_property(CACHE IDEFICS_MPI PROPERTY STRINGS AUTO ON OFF)
if(IDEFICS_MPI STREQUAL "AUTO")
  find_package(MPI QUIET COMPONENTS CXX)
elseif(IDEFICS_MPI)
  find_package(MPI REQUIRED COMPONENTS CXX)
endif()
if(IDEFICS_MPI AND MPI_CXX_FOUND)
  add_library(idefics_mpi INTERFACE)
  add_library(idefics::mpi ALIAS idefics_mpi)
  target_link_libraries(idefics_mpi INTERFACE idefics::idefics MPI::MPI_CXX)
  target_compile_definitions(idefics_mpi INTERFACE IDEFICS_MPI)
endif()
