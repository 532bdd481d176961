#pragma once
// Where parameters come from: a Hugging Face directory or a checkpoint, read by logical element, so that each rank
// reads the bytes of its own shards only.
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sherd {

enum class ParamState { master, m, v };  // a Hugging Face directory has the first only
std::string_view name_of(ParamState state);

class ParamSource {
 public:
  virtual ~ParamSource() = default;
  /// Logical shape; bad_input if there is no such parameter (naming the nearest one).
  virtual std::vector<std::int64_t> shape(std::string_view name) const = 0;
  virtual bool has(std::string_view name, ParamState state) const = 0;
  /// Elements [first, first + out.size()) of the flattened parameter, as f32. Memory: a bounded buffer.
  virtual void read(std::string_view name, ParamState state, std::int64_t first, std::span<float> out) = 0;
};

/// bad_input, with both shapes, unless `source` has the parameter in the shape that the configuration gives it. `where`
/// names the source in the message: the model's directory, the checkpoint's.
void require_shape(const ParamSource& source, std::string_view where, std::string_view name,
                   std::span<const std::int64_t> expected);

}  // namespace sherd
