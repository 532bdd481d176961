# How every target of ours is compiled, and the two functions that declare a layer and its tests.
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

# sherd_layer(NAME SOURCES a.cpp ... [LINKS lib ...]): the library sherd_NAME.
function(sherd_layer name)
  cmake_parse_arguments(arg "" "" "SOURCES;LINKS;PRIVATE_LINKS" ${ARGN})
  add_library(sherd_${name} STATIC ${arg_SOURCES})
  target_link_libraries(sherd_${name} PUBLIC sherd_flags ${arg_LINKS} PRIVATE ${arg_PRIVATE_LINKS})
  target_precompile_headers(sherd_${name} PRIVATE <algorithm> <cstdint> <functional> <memory> <string> <vector>
                            <fmt/core.h>)
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
  target_precompile_headers(${name} PRIVATE <gtest/gtest.h>)
  if(NOT arg_RANKS)
    target_link_libraries(${name} PRIVATE GTest::gtest_main)
    add_test(NAME ${name} COMMAND ${name})
    set_tests_properties(${name} PROPERTIES TIMEOUT ${arg_TIMEOUT} LABELS "${arg_LABELS}")
  endif()
  foreach(ranks IN LISTS arg_RANKS)
    add_test(NAME ${name}.ranks${ranks}
             COMMAND ${PROJECT_SOURCE_DIR}/tools/mpirun.sh ${ranks} $<TARGET_FILE:${name}>)
    set_tests_properties(${name}.ranks${ranks} PROPERTIES TIMEOUT ${arg_TIMEOUT} LABELS "mpi;${arg_LABELS}"
                         PROCESSORS 2)
  endforeach()
endfunction()
