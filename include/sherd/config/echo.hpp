#pragma once
// A TrainConfig as JSON: kept in every checkpoint, and compared across ranks and with the run that is resumed.
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "sherd/config/train_config.hpp"

namespace sherd {

/// One flat object, a line per field, in the order of fields_of.
std::string to_json(const TrainConfig& config);
/// What to_json wrote; keys that are missing keep their defaults. Bad input, naming `source`, for anything else.
TrainConfig train_config_from_json(std::string_view text, const std::string& source);

/// One line per field that differs between two texts of to_json: "seed: 42 and 43".
std::vector<std::string> differing_fields(std::string_view a, std::string_view b);

}  // namespace sherd
