#pragma once
// Text for messages and headers.
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sherd {

/// Of `names`, the one that the fewest edited characters turn into `name` (the first of several); "" if there are none.
std::string nearest_name(std::string_view name, const std::vector<std::string>& names);

/// "3, 4, 5"
std::string joined(std::span<const std::int64_t> numbers);

}  // namespace sherd
