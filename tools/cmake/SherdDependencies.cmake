# The libraries of README's table. Each is found once, here.
set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(OpenSSL REQUIRED)  # SHA-256: libcrypto
find_package(CURL QUIET)        # sherd-fetch alone
find_package(CLI11 QUIET)       # its command line, and that of the benchmarks
include(SherdParquet)          # sherd-games alone
if(SHERD_ONLY_FETCH)
  return()
endif()

set(MPI_CXX_SKIP_MPICXX ON)
set(HDF5_PREFER_PARALLEL ON)
find_package(OpenMP REQUIRED COMPONENTS CXX)
find_package(MPI REQUIRED COMPONENTS C CXX)
find_package(HDF5 REQUIRED COMPONENTS C)

# Ubuntu's package file demands a protobuf that its own package does not bring, so look for the files themselves, and ask
# it for the version alone.
find_path(SENTENCEPIECE_INCLUDE sentencepiece_processor.h REQUIRED)
find_library(SENTENCEPIECE_LIBRARY sentencepiece REQUIRED)
find_library(SENTENCEPIECE_TRAIN_LIBRARY sentencepiece_train REQUIRED)
add_library(sentencepiece INTERFACE)
target_include_directories(sentencepiece SYSTEM INTERFACE ${SENTENCEPIECE_INCLUDE})
target_link_libraries(sentencepiece INTERFACE ${SENTENCEPIECE_LIBRARY})
find_program(PKG_CONFIG pkg-config)
if(PKG_CONFIG)
  execute_process(COMMAND ${PKG_CONFIG} --modversion sentencepiece OUTPUT_VARIABLE SENTENCEPIECE_VERSION
                  OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()
if(NOT SENTENCEPIECE_VERSION)
  set(SENTENCEPIECE_VERSION "of unknown version")
endif()

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

if(SHERD_TESTS)
  find_package(GTest REQUIRED)
endif()
if(SHERD_BENCH)
  find_package(benchmark REQUIRED)
  find_package(CLI11 REQUIRED)
endif()
