#pragma once
// CUDA's own libraries, opened while the program runs, so that it starts on machines that have none of them.
#include <string>
#include <string_view>

namespace sherd::cuda {

/// The library of this name, looked for under its plain name (so LD_LIBRARY_PATH and the program's run path count),
/// in $CUDA_HOME/lib64, in /usr/local/cuda/lib64 and in the folders of $SHERD_CUDA_LIBRARIES (a colon between two; for
/// pip wheels, .../nvidia/cu13/lib). Null if it is nowhere: `tried` then says what was tried, a line each. Never
/// closed: its functions may run until the process ends.
void* open_library(std::string_view name, std::string& tried);

/// The address of a function of an open library; throws if the library lacks it.
void* function_of(void* library, std::string_view library_name, const char* function);

}  // namespace sherd::cuda
