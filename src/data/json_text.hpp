#pragma once
#include <string>
#include <string_view>

namespace sherd {

/// Length of the UTF-8 sequence that begins at text[at], 0 when it is not a legal one (RFC 3629, table of section 4).
std::size_t utf8_length(std::string_view text, std::size_t at);

/// The string field `name` of the JSON object that is all of `line`. Null on success, else what is wrong.
const char* json_string_field(std::string_view line, std::string_view name, std::string& value);

}  // namespace sherd
