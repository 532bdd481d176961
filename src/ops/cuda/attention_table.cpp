#include "attention_table.hpp"

#include "algorithm_text.hpp"
#include "sherd/base/error.hpp"

namespace sherd::cuda {
namespace {

using Verdict = AttentionTable::Verdict;

constexpr std::array<std::string_view, 6> kVerdicts = {"faster",       "slower",  "wrong",
                                                       "unrepeatable", "refused", "uncompared"};

std::string header(const AttentionTarget& t) {
  return fmt::format("{} {} sm {} multiprocessors {} device {}", kAttentionFormat, t.library, t.compute_capability,
                     t.multiprocessors, t.device);
}

AttentionTask read_task(Words& w) {
  AttentionTask task;
  AttentionKey& key = task.key;
  w.literal("B"), key.batch = w.size();
  w.literal("T"), key.length = w.size();
  w.literal("heads"), key.heads.query = w.size();
  key.heads.kv = w.size();
  key.heads.dim = w.size();
  w.literal("documents"), key.documents = w.size();
  task.backward = w.either("forward", "backward");
  return task;
}

AttentionTable::Choice read_choice(Words& w) {
  AttentionTable::Choice choice;
  w.literal("own"), w.literal("us"), choice.own = w.microseconds();
  w.literal("cudnn"), w.literal("us"), choice.cudnn = w.microseconds();
  choice.verdict = static_cast<Verdict>(w.choice(kVerdicts));
  return choice;
}

}  // namespace

std::string AttentionTask::text() const {
  return fmt::format("{} {}", key.text(), backward ? "backward" : "forward");
}

std::string AttentionTable::Choice::text() const {
  return fmt::format("own us {:.2f} cudnn us {:.2f} {}", own, cudnn, kVerdicts[static_cast<std::size_t>(verdict)]);
}

const AttentionTable::Choice* AttentionTable::find(const AttentionTask& task) const {
  const auto at = choices_.find(task);
  return at == choices_.end() ? nullptr : &at->second;
}

std::string AttentionTable::text(const AttentionTarget& target) const {
  std::string lines;
  for (const auto& [task, choice] : choices_) lines += fmt::format("{} {}\n", task.text(), choice.text());
  return seal(header(target), lines, choices_.size());
}

std::optional<AttentionTable> AttentionTable::parse(std::string_view section, const AttentionTarget& target,
                                                    std::string& reason) {
  AttentionTable table;
  const bool ours = unseal(section, header(target), "table of attention", reason, [&](Words& w) {
    const AttentionTask task = read_task(w);
    const Choice choice = read_choice(w);
    w.end();
    if (!table.choices_.emplace(task, choice).second) w.fail("a second line of this attention");
  });
  return ours ? std::optional(std::move(table)) : std::nullopt;
}

}  // namespace sherd::cuda
