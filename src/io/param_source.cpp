#include "sherd/io/param_source.hpp"

#include <algorithm>

#include "sherd/base/error.hpp"
#include "text.hpp"

namespace sherd {

std::string_view name_of(ParamState state) {
  switch (state) {
    case ParamState::master:
      return "master";
    case ParamState::m:
      return "m";
    case ParamState::v:
      return "v";
  }
  check_failed("a ParamState", "an unknown state of a parameter");
}

void require_shape(const ParamSource& source, std::string_view where, std::string_view name,
                   std::span<const std::int64_t> expected) {
  const std::vector<std::int64_t> found = source.shape(name);
  if (std::equal(found.begin(), found.end(), expected.begin(), expected.end())) return;
  throw bad_input("{}: {} has the shape ({}), the configuration asks for ({}); is config.json of another model?", where,
                  name, joined(found), joined(expected));
}

}  // namespace sherd
