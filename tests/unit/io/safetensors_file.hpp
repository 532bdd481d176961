#pragma once
// Safetensors files as raw bytes, so that the tests can write what no writer of ours would.
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "sherd/file/posix.hpp"

namespace sherd {

template <class T>
std::string raw(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

inline std::string safetensors_bytes(const std::string& header, const std::string& data) {
  return raw(std::vector<std::uint64_t>{header.size()}) + header + data;
}

inline void write_file(const std::filesystem::path& path, const std::string& bytes) {
  File::create(path).pwrite_all(bytes, 0);
}

}  // namespace sherd
