#pragma once
// Tables of algorithms on disk: one file per kind, device, number of multiprocessors and library version, in
// $XDG_CACHE_HOME/sherd or ~/.cache/sherd. A cache only saves the search's time, so nothing here throws: what goes
// wrong is logged.
#include <filesystem>
#include <string>
#include <string_view>

#include "gemm_table.hpp"

namespace sherd::cuda {

/// `kind`: "products". Empty if neither XDG_CACHE_HOME nor HOME is an absolute path.
std::filesystem::path cache_path(std::string_view kind, std::string_view device, std::string_view version);
inline std::filesystem::path gemm_cache_path(const GemmTarget& target) {
  return cache_path("products", target.device, fmt::format("{}-{}", target.multiprocessors, target.library_version));
}
/// The whole file, or nothing: absent, unreadable, too large.
std::string read_cache(const std::filesystem::path& path);
/// Replaces the file by one rename, so that no reader ever finds half of it.
void write_cache(const std::filesystem::path& path, const std::string& text);

}  // namespace sherd::cuda
