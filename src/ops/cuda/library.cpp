#include "library.hpp"

#include <dlfcn.h>

#include <cstdlib>
#include <vector>

#include "sherd/base/error.hpp"

namespace sherd::cuda {
namespace {

std::vector<std::string> folders() {
  std::vector<std::string> out;
  if (const char* home = std::getenv("CUDA_HOME"); home != nullptr && *home != '\0')
    out.push_back(std::string(home) + "/lib64");
  out.emplace_back("/usr/local/cuda/lib64");
  const char* list = std::getenv("SHERD_CUDA_LIBRARIES");
  std::string_view rest = list == nullptr ? "" : list;
  while (!rest.empty()) {
    const std::size_t end = rest.find(':');
    if (const std::string_view folder = rest.substr(0, end); !folder.empty()) out.emplace_back(folder);
    rest = end == std::string_view::npos ? "" : rest.substr(end + 1);
  }
  return out;
}

}  // namespace

void* open_library(std::string_view name, std::string& tried) {
  std::vector<std::string> paths{std::string(name)};
  for (const std::string& folder : folders()) paths.push_back(folder + "/" + std::string(name));
  for (const std::string& path : paths) {
    if (void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL); library != nullptr) return library;
    const char* why = dlerror();
    tried += fmt::format("\n  {}: {}", path, why == nullptr ? "not opened" : why);
  }
  return nullptr;
}

void* function_of(void* library, std::string_view library_name, const char* function) {
  void* address = dlsym(library, function);
  if (address == nullptr) throw usage_error("{} has no function {}; use a release of CUDA 13", library_name, function);
  return address;
}

}  // namespace sherd::cuda
