// Which algorithms compute a run's products: those that are known, those in the cache, those of a search.
#include <algorithm>

#include "algorithm_cache.hpp"
#include "algorithm_text.hpp"
#include "attention_tune.hpp"
#include "gemm_search.hpp"
#include "ops.hpp"
#include "sherd/base/log.hpp"

namespace sherd::cuda {
namespace {

/// The table in a text from anywhere; an empty one if there is none for this device, which the log says.
GemmTable table_of(std::string_view text, const std::string& source, const GemmTarget& target) {
  if (text.empty()) return {};
  std::string reason;
  try {
    if (auto table = GemmTable::parse(text, target, reason)) return *table;
  } catch (const Error& e) {
    reason = e.what();
  }
  log::warn("{}: its algorithms for products are left unused: {}", source, reason);
  return {};
}

/// Adds to `table` what `other` knows of these products.
void adopt(GemmTable& table, const GemmTable& other, std::span<const ProductKey> products) {
  for (const ProductKey& key : products) {
    if (table.find(key)) continue;
    if (const GemmTable::Choice* choice = other.find(key)) table.set(key, *choice);
  }
}

std::string choose_products(std::span<const ProductKey> products, std::string_view known, Tensor scratch,
                            Tensor workspace, Stream& s) {
  const GemmTarget target = current_target();
  GemmTable table;
  const auto missing = [&] {
    std::vector<ProductKey> out;
    std::copy_if(products.begin(), products.end(), std::back_inserter(out),
                 [&](const ProductKey& key) { return !table.find(key); });
    return out;
  };
  const auto add_verified = [&](std::string_view text, const std::string& source) {
    const std::size_t before = table.all().size();
    GemmTable wanted;
    adopt(wanted, table_of(text, source, target), missing());
    const GemmTable good = verified(wanted, scratch, workspace, s);
    if (const std::size_t bad = wanted.all().size() - good.all().size(); bad > 0)
      log::warn("{}: {} of its algorithms for products do not run here as they should, and are searched again", source,
                bad);
    table.merge(good);
    return table.all().size() - before;
  };
  const std::size_t from_checkpoint = add_verified(known, "the checkpoint");

  const std::filesystem::path path = gemm_cache_path(target);
  const std::size_t from_cache = add_verified(read_cache(path), path.string());
  if (const std::vector<ProductKey> searched = missing(); !searched.empty()) {
    const GemmTable found = search_products(searched, scratch, workspace, s);
    table.merge(found);
    GemmTable kept;  // that nothing was chosen holds for this run's memory alone
    for (const auto& [key, choice] : found.all())
      if (choice.any()) kept.set(key, choice);
    const bool any = !kept.all().empty();
    kept.merge(table_of(read_cache(path), path.string(), target));  // as it is now: other jobs write it, too
    if (any) write_cache(path, kept.text(target));
  }
  log::info("products: {} shapes; algorithms of {} from the checkpoint, {} from {}, {} searched now", products.size(),
            from_checkpoint, from_cache, path.empty() ? "no cache" : path.string(),
            table.all().size() - from_checkpoint - from_cache);
  return table.text(target);
}

}  // namespace

std::string OpsImpl::choose_algorithms(const AlgorithmNeeds& needs, std::string_view known, Tensor slab, Tensor scratch,
                                       Stream& s) {
  const Sections sections = sections_of(known);
  return choose_products(needs.products, sections.products, scratch, products_workspace_, s) +
         choose_attentions(needs.attentions, sections.attention, slab, scratch, s);
}

void OpsImpl::use_algorithms(std::string_view text, const AlgorithmNeeds& needs, Tensor slab) {
  const Sections sections = sections_of(text);
  gemm_.pin(table_of(sections.products, "rank 0", current_target()));
  pinned_attention_.pin(sections.attention, needs.attentions, slab);
}

}  // namespace sherd::cuda
