#pragma once
// The table of products on disk: one file per device and library version, in $XDG_CACHE_HOME/sherd or ~/.cache/sherd. A
// cache only saves the search's time, so nothing here throws: what goes wrong is logged.
#include <filesystem>
#include <string>

#include "gemm_table.hpp"

namespace sherd::cuda {

/// Empty if neither XDG_CACHE_HOME nor HOME is an absolute path.
std::filesystem::path gemm_cache_path(const GemmTarget& target);
/// The whole file, or nothing: absent, unreadable, too large.
std::string read_gemm_cache(const std::filesystem::path& path);
/// Replaces the file by one rename, so that no reader ever finds half of it.
void write_gemm_cache(const std::filesystem::path& path, const std::string& text);

}  // namespace sherd::cuda
