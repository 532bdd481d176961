#include "attention_tune.hpp"

#include <vector>

#include "algorithm_cache.hpp"
#include "attention_search.hpp"
#include "cudnn_attention.hpp"
#include "sherd/base/log.hpp"

namespace sherd::cuda {
namespace {

constexpr bool kDirections[] = {false, true};

/// Adds to `table` what `other` knows of these shapes: both directions or none, so that what was compared together is
/// chosen together.
void adopt(AttentionTable& table, const AttentionTable& other, std::span<const AttentionKey> keys) {
  for (const AttentionKey& key : keys) {
    const auto *forward = other.find({key, false}), *backward = other.find({key, true});
    if (table.find({key, false}) || !forward || !backward) continue;
    table.set({key, false}, *forward);
    table.set({key, true}, *backward);
  }
}

std::vector<AttentionKey> missing_in(const AttentionTable& table, std::span<const AttentionKey> keys) {
  std::vector<AttentionKey> out;
  for (const AttentionKey& key : keys)
    if (!table.find({key, false})) out.push_back(key);
  return out;
}

const char* meaning(AttentionTable::Verdict verdict) {
  switch (verdict) {
    case AttentionTable::Verdict::faster:
      return "cuDNN's is faster and computes it";
    case AttentionTable::Verdict::slower:
      return "cuDNN's is slower, so ours computes it";
    case AttentionTable::Verdict::wrong:
      return "cuDNN's results are wrong, so ours computes it";
    case AttentionTable::Verdict::unrepeatable:
      return "the bits of cuDNN's results change from run to run, so ours computes it";
    case AttentionTable::Verdict::uncompared:
      return "cuDNN's could not be compared, so ours computes it";
    default:
      return "cuDNN does not take it, so ours computes it";
  }
}

}  // namespace

AttentionTarget attention_target(const std::string& library) {
  const GemmTarget device = current_target();
  return {library, device.device, device.compute_capability, device.multiprocessors};
}

AttentionTable attention_table_of(std::string_view section, const std::string& source, const AttentionTarget& target) {
  if (section.empty()) return {};
  std::string reason;
  try {
    if (auto table = AttentionTable::parse(section, target, reason)) return *table;
  } catch (const Error& e) {
    reason = e.what();
  }
  log::warn("{}: its choices for attention are left unused: {}", source, reason);
  return {};
}

std::string choose_attentions(std::span<const AttentionKey> keys, std::string_view known, Tensor slab, Tensor scratch,
                              Stream& s) {
  if (keys.empty()) return {};
  std::string reason;
  const std::string library = slab ? CudnnAttention::library(reason) : "";
  if (library.empty()) {
    log::info("attention: ours; cuDNN's cannot be used: {}. --attention own saves the {:.1f} MiB that it would need",
              slab ? reason : "it has no memory", static_cast<double>(slab.bytes()) / (1 << 20));
    return {};
  }
  const AttentionTarget target = attention_target(library);
  AttentionTable table;
  adopt(table, attention_table_of(known, "the checkpoint", target), keys);
  table = verified(std::move(table), slab, scratch, s);
  const std::size_t from_checkpoint = keys.size() - missing_in(table, keys).size();

  const std::filesystem::path path =
      cache_path("attention", target.device, fmt::format("{} {}", target.multiprocessors, library));
  AttentionTable from_file;
  adopt(from_file, attention_table_of(read_cache(path), path.string(), target), missing_in(table, keys));
  table.merge(verified(std::move(from_file), slab, scratch, s));
  const std::vector<AttentionKey> missing = missing_in(table, keys);
  const std::size_t from_cache = keys.size() - missing.size() - from_checkpoint;
  if (!missing.empty()) {
    const AttentionTable found = compare_attentions(missing, slab, scratch, s);
    table.merge(found);
    AttentionTable kept;  // what could not be compared may be another time
    for (const auto& [task, choice] : found.all())
      if (choice.verdict != AttentionTable::Verdict::uncompared) kept.set(task, choice);
    const bool any = !kept.all().empty();
    kept.merge(attention_table_of(read_cache(path), path.string(), target));  // as it is now: other jobs write it, too
    if (any) write_cache(path, kept.text(target));
  }
  log::info("attention: {} shapes, {}; kernels of {} from the checkpoint, {} from {}, {} compared now", keys.size(),
            library, from_checkpoint, from_cache, path.empty() ? "no cache" : path.string(),
            table.all().size() / std::size(kDirections) - from_checkpoint - from_cache);
  bool any = false;
  for (const auto& [task, choice] : table.all()) {
    log::info("attention {}: ours {:.2f} us{}; {}", task.text(), choice.own,
              choice.cudnn > 0 ? fmt::format(", cuDNN's {:.2f} us", choice.cudnn) : "", meaning(choice.verdict));
    any = any || choice.by_cudnn();
  }
  if (!any)
    log::info("attention: ours everywhere; --attention own saves {:.1f} MiB",
              static_cast<double>(slab.bytes()) / (1 << 20));
  return table.text(target);
}

}  // namespace sherd::cuda
