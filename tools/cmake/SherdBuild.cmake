# How every target of ours is compiled, and the functions that declare a layer and its tests.
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_CXX_FLAGS_RELEASE "-O3 -g1")
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

add_library(sherd_flags INTERFACE)
target_include_directories(sherd_flags INTERFACE ${PROJECT_SOURCE_DIR}/include)
set(cxx_flags -march=${SHERD_MARCH} -fno-math-errno -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Werror
              -Wno-stringop-overflow)  # the last: false alarms of g++ 12 inside fmt at -O3
# FMT_USE_CONSTEXPR: fmt 9 takes nvcc for a compiler without constexpr functions.
set(cuda_flags -DFMT_USE_CONSTEXPR=1 --expt-relaxed-constexpr --Werror=all-warnings -Xcompiler=-Wall -Xcompiler=-Wextra)
target_compile_options(sherd_flags INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:${cxx_flags}>"
                       "$<$<COMPILE_LANGUAGE:CUDA>:${cuda_flags}>")
if(SHERD_SANITIZE)
  target_compile_options(sherd_flags INTERFACE -fsanitize=${SHERD_SANITIZE} -fno-sanitize-recover=all
                         -fno-omit-frame-pointer)
  target_link_options(sherd_flags INTERFACE -fsanitize=${SHERD_SANITIZE})
endif()

# Headers that are compiled once for all targets with the same flags: for layers and programs, and for tests.
function(sherd_headers name)
  file(WRITE ${PROJECT_BINARY_DIR}/${name}.cpp "")
  add_library(${name} OBJECT EXCLUDE_FROM_ALL ${PROJECT_BINARY_DIR}/${name}.cpp)
  target_link_libraries(${name} PRIVATE sherd_flags fmt::fmt)
  target_precompile_headers(${name} PRIVATE ${ARGN})
endfunction()
set(layer_headers <algorithm> <cstdint> <filesystem> <functional> <memory> <span> <string> <vector> <fmt/core.h>)

# sherd_precompiled(TARGET): it uses the layers' headers.
function(sherd_precompiled target)
  if(NOT TARGET sherd_layer_headers)
    sherd_headers(sherd_layer_headers ${layer_headers})
  endif()
  target_precompile_headers(${target} REUSE_FROM sherd_layer_headers)
endfunction()

# sherd_layer(NAME SOURCES a.cpp ... [LINKS lib ...] [OWN_HEADERS]): the library sherd_NAME. OWN_HEADERS: it has flags of
# its own, and so needs its own compiled headers.
function(sherd_layer name)
  cmake_parse_arguments(arg "OWN_HEADERS" "" "SOURCES;LINKS;PRIVATE_LINKS" ${ARGN})
  add_library(sherd_${name} STATIC ${arg_SOURCES})
  target_link_libraries(sherd_${name} PUBLIC sherd_flags ${arg_LINKS} PRIVATE ${arg_PRIVATE_LINKS})
  if(arg_OWN_HEADERS)
    target_precompile_headers(sherd_${name} PRIVATE ${layer_headers})
  else()
    sherd_precompiled(sherd_${name})
  endif()
endfunction()

# sherd_test_objects(NAME): how a target of tests is compiled. They are run once, so -O1: it takes two thirds of the time.
# Compiled functions of other layers keep their -O3; inline ones may be the test's.
function(sherd_test_objects name)
  if(NOT TARGET sherd_test_headers)
    sherd_headers(sherd_test_headers <gtest/gtest.h> <filesystem> <fstream> <functional> <fmt/core.h>)
    target_link_libraries(sherd_test_headers PRIVATE GTest::gtest)
    target_compile_options(sherd_test_headers PRIVATE -O1)
  endif()
  target_compile_options(${name} PRIVATE -O1)
  target_precompile_headers(${name} REUSE_FROM sherd_test_headers)
endfunction()

# sherd_test(NAME SOURCES a_test.cpp ... [LINKS lib ...] [RANKS 1 2 4] [LABELS l ...]): a GoogleTest binary, run once, or
# once for every number of MPI ranks (such a binary has its own main, tests/mpi/main.cpp).
function(sherd_test name)
  cmake_parse_arguments(arg "" "TIMEOUT" "SOURCES;LINKS;RANKS;LABELS" ${ARGN})
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 300)
  endif()
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE sherd_flags ${arg_LINKS} GTest::gtest)
  sherd_test_objects(${name})
  if(NOT arg_RANKS)
    target_link_libraries(${name} PRIVATE GTest::gtest_main)
    add_test(NAME ${name} COMMAND ${name})
    set_tests_properties(${name} PROPERTIES TIMEOUT ${arg_TIMEOUT} LABELS "${arg_LABELS}")
  endif()
  foreach(ranks IN LISTS arg_RANKS)
    set(cores 2)
    if(ranks EQUAL 1)
      set(cores 1)
    endif()
    add_test(NAME ${name}.ranks${ranks}
             COMMAND ${PROJECT_SOURCE_DIR}/tools/mpirun.sh ${ranks} $<TARGET_FILE:${name}>)
    set_tests_properties(${name}.ranks${ranks} PROPERTIES TIMEOUT ${arg_TIMEOUT} LABELS "mpi;${arg_LABELS}"
                         PROCESSORS ${cores})
  endforeach()
endfunction()
