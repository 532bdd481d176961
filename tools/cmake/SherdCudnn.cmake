# cuDNN's attention through cudnn-frontend: headers alone, since the library is opened at run time. The headers are looked
# for in SHERD_CUDNN_FRONTEND, in the wheel nvidia-cudnn-frontend of SHERD_PYTHON, in .deps
# (tools/setup.sh), and on the system; cuDNN's own in CUDA's
# folder, in a wheel nvidia-cudnn-cu13, and on the system. Include it after SherdCuda. Sets SHERD_CUDNN_SOURCES (of
# src/ops/cuda) to the real files or the stub, and makes the target sherd_cudnn_headers.
set(SHERD_CUDNN_FRONTEND "" CACHE PATH "the folder of cudnn_frontend.h")
set(SHERD_CUDNN_SOURCES cudnn_attention_stub.cpp)
if(NOT SHERD_HAS_CUDA)
  return()
endif()
if(NOT DEFINED SHERD_PYTHON)
  set(SHERD_PYTHON python3)
endif()
execute_process(
  COMMAND ${SHERD_PYTHON} -c "import importlib.metadata as m
for name, folder in (('nvidia-cudnn-frontend', 'include'), ('nvidia-cudnn-cu13', 'nvidia/cudnn/include')):
    try: print(m.distribution(name).locate_file(folder))
    except m.PackageNotFoundError: pass"
  OUTPUT_VARIABLE wheels OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
string(REPLACE "\n" ";" wheels "${wheels}")
find_path(SHERD_CUDNN_FRONTEND_INCLUDE cudnn_frontend.h
          HINTS ${SHERD_CUDNN_FRONTEND} ${SHERD_CUDNN_FRONTEND}/include ${wheels}
                ${PROJECT_SOURCE_DIR}/.deps/cudnn-frontend/include)
find_path(SHERD_CUDNN_INCLUDE cudnn_version.h HINTS ${CUDAToolkit_INCLUDE_DIRS} ${wheels})
if(SHERD_CUDNN_FRONTEND AND NOT SHERD_CUDNN_FRONTEND_INCLUDE)
  message(FATAL_ERROR "SHERD_CUDNN_FRONTEND is ${SHERD_CUDNN_FRONTEND}, which has no cudnn_frontend.h")
endif()
if(NOT SHERD_CUDNN_FRONTEND_INCLUDE OR NOT SHERD_CUDNN_INCLUDE)
  message(STATUS "No cuDNN attention: cudnn-frontend is '${SHERD_CUDNN_FRONTEND_INCLUDE}', cuDNN's headers '${SHERD_CUDNN_INCLUDE}'")
  return()
endif()

# sherd_number_in(OUT FILE NAME): the value of `#define NAME 9`.
function(sherd_number_in out file name)
  file(STRINGS ${file} line REGEX "^#define ${name} +[0-9]+" LIMIT_COUNT 1)
  string(REGEX REPLACE "^#define ${name} +([0-9]+).*" "\\1" value "${line}")
  set(${out} "${value}" PARENT_SCOPE)
endfunction()
sherd_number_in(major ${SHERD_CUDNN_INCLUDE}/cudnn_version.h CUDNN_MAJOR)
sherd_number_in(minor ${SHERD_CUDNN_INCLUDE}/cudnn_version.h CUDNN_MINOR)
sherd_number_in(frontend_major ${SHERD_CUDNN_FRONTEND_INCLUDE}/cudnn_frontend_version.h CUDNN_FRONTEND_MAJOR_VERSION)
sherd_number_in(frontend_minor ${SHERD_CUDNN_FRONTEND_INCLUDE}/cudnn_frontend_version.h CUDNN_FRONTEND_MINOR_VERSION)
# 1.22 has all that is called; 1.28 also asks for the deterministic backward of packed batches (cudnn_attention.hpp).
if("${frontend_major}.${frontend_minor}" VERSION_LESS 1.22 OR "${major}.${minor}" VERSION_LESS 9.12)
  message(STATUS "No cuDNN attention: cudnn-frontend ${frontend_major}.${frontend_minor} (1.22 is needed), "
                 "cuDNN ${major}.${minor} (9.12 is needed)")
  return()
endif()
message(STATUS "cuDNN attention: cudnn-frontend ${frontend_major}.${frontend_minor} in ${SHERD_CUDNN_FRONTEND_INCLUDE}, "
               "cuDNN ${major}.${minor} in ${SHERD_CUDNN_INCLUDE}")
set(SHERD_CUDNN_SOURCES cudnn_attention.cpp cudnn_documents.cu)
add_library(sherd_cudnn_headers INTERFACE)
target_include_directories(sherd_cudnn_headers SYSTEM INTERFACE ${SHERD_CUDNN_FRONTEND_INCLUDE} ${SHERD_CUDNN_INCLUDE})
target_compile_definitions(sherd_cudnn_headers INTERFACE NV_CUDNN_FRONTEND_USE_DYNAMIC_LOADING CUDNN_FRONTEND_SKIP_JSON_LIB)
