# The libraries of README's table. Each is found once, here.
set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(OpenSSL REQUIRED)  # SHA-256: libcrypto
find_package(CURL)              # sherd-fetch alone
find_package(CLI11)             # its command line, and that of the benchmarks
if(SHERD_ONLY_FETCH)
  return()
endif()

set(MPI_CXX_SKIP_MPICXX ON)
set(HDF5_PREFER_PARALLEL ON)
find_package(OpenMP REQUIRED COMPONENTS CXX)
find_package(MPI REQUIRED COMPONENTS C CXX)
find_package(HDF5 REQUIRED COMPONENTS C)
find_package(PkgConfig REQUIRED)
pkg_check_modules(SENTENCEPIECE REQUIRED IMPORTED_TARGET sentencepiece)

# oneDNN's own package file demands OpenCL on Debian, so look for the two files themselves.
find_path(DNNL_INCLUDE dnnl.hpp REQUIRED)
find_library(DNNL_LIBRARY dnnl REQUIRED)
file(STRINGS ${DNNL_INCLUDE}/oneapi/dnnl/dnnl_version.h DNNL_VERSION_MAJOR REGEX "#define DNNL_VERSION_MAJOR ")
string(REGEX REPLACE "[^0-9]" "" DNNL_VERSION_MAJOR "${DNNL_VERSION_MAJOR}")
if(NOT DNNL_VERSION_MAJOR MATCHES "^[23]$")
  message(FATAL_ERROR "oneDNN ${DNNL_VERSION_MAJOR} in ${DNNL_INCLUDE}: Sherd knows 2 and 3")
endif()
add_library(dnnl_dnnl INTERFACE)
target_include_directories(dnnl_dnnl SYSTEM INTERFACE ${DNNL_INCLUDE})
target_link_libraries(dnnl_dnnl INTERFACE ${DNNL_LIBRARY})
find_library(SENTENCEPIECE_TRAIN_LIBRARY sentencepiece_train REQUIRED)

if(SHERD_TESTS)
  find_package(GTest REQUIRED)
endif()
if(SHERD_BENCH)
  find_package(benchmark REQUIRED)
  find_package(CLI11 REQUIRED)
endif()
