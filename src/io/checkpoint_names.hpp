#pragma once
// The names of a checkpoint's directory, while it is written and after. Private to io/.
#include <cstdint>
#include <filesystem>
#include <optional>

namespace sherd {

std::filesystem::path work_directory(const std::filesystem::path& output, std::int64_t step);       // step-00000100.tmp
std::filesystem::path committed_directory(const std::filesystem::path& output, std::int64_t step);  // step-00000100
/// The step of a committed directory's name; nothing for any other name.
std::optional<std::int64_t> step_of(const std::filesystem::path& directory);

}  // namespace sherd
