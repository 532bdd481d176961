#pragma once
// Text for messages and headers. Private to io/.
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sherd {

/// What a message about an unknown name ends with: "; did you mean model.norm.weight?", or nothing if none is near.
std::string did_you_mean(std::string_view name, const std::vector<std::string>& known);

/// "3, 4, 5"
std::string joined(std::span<const std::int64_t> numbers);

}  // namespace sherd
