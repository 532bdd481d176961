#include "sherd/train/metrics.hpp"

#include <cerrno>
#include <cmath>
#include <cstring>

#include "sherd/base/error.hpp"

namespace sherd {

std::string clock_text(double seconds) {
  const auto s = static_cast<std::int64_t>(std::llround(std::max(seconds, 0.0)));
  if (s >= 3600) return fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
  return fmt::format("{}:{:02}", s / 60, s % 60);
}

std::string needs_line(const StepNeeds& needs) {
  const OpWork work = total(needs.needed);
  std::string of_them, rate;
  if (needs.rates.f8_flops > 0) {
    of_them = fmt::format(", {:.4g} of them in eight bits,", f8_flops(needs.needed) / 1e12);
    rate = fmt::format(", {:.4g} in eight bits,", needs.rates.f8_flops / 1e12);
  }
  return fmt::format(
      "a step needs {:.4g} TFLOP{} and {:.4g} GB of memory traffic per rank: {:.4g} s at the {:.4g} TFLOP/s{} and "
      "{:.4g} GB/s that were measured (SOL 100%)",
      work.flops / 1e12, of_them, work.bytes / 1e9, needs.least_seconds(), needs.rates.flops / 1e12, rate,
      needs.rates.bytes / 1e9);
}

std::string log_line(const StepReport& r) {
  return fmt::format(
      "step {}/{}  loss {:.4f}  lr {:.2e}  norm {:.3f}  {:.0f} tok/s  MFU {:.1f}%  SOL {:.1f}%  mem {:.2f} GiB  data "
      "{:.2f} s  comm "
      "{:.2f} s  left {}",
      r.step, r.total_steps, r.loss, r.learning_rate, r.grad_norm, r.tokens_per_second, 100 * r.mfu,
      100 * r.speed_of_light, r.memory_gib, r.data_wait_seconds, r.comm_wait_seconds, clock_text(r.seconds_left));
}

namespace {

std::string traffic_json(const Traffic& t) {
  std::string text = "{";
  for (int c = 0; c < kCollectives; ++c) {
    const Traffic::Row& row = t.row[static_cast<std::size_t>(c)];
    if (row.calls == 0) continue;
    text += fmt::format("{}\"{}\":{{\"calls\":{},\"bytes\":{}}}", text.size() > 1 ? "," : "",
                        name_of(static_cast<Collective>(c)), row.calls, row.bytes_sent);
  }
  return text + "}";
}

}  // namespace

std::string json_line(const StepReport& r) {
  return fmt::format(
      "{{\"step\":{},\"total_steps\":{},\"loss\":{:.7g},\"learning_rate\":{:.6g},\"grad_norm\":{:.7g},\"tokens\":{},"
      "\"seconds\":{:.6f},\"tokens_per_second\":{:.2f},\"mfu\":{:.5f},\"speed_of_light\":{:.5f},\"memory_gib\":{:.4f},"
      "\"data_wait_seconds\":{:."
      "6f},"
      "\"comm_wait_seconds\":{:.6f},\"seconds_left\":{:.1f},\"sent\":{{\"shard\":{},\"replicate\":{},\"world\":{}}}}}",
      r.step, r.total_steps, r.loss, r.learning_rate, r.grad_norm, r.tokens, r.seconds, r.tokens_per_second, r.mfu,
      r.speed_of_light, r.memory_gib, r.data_wait_seconds, r.comm_wait_seconds, r.seconds_left, traffic_json(r.shard),
      traffic_json(r.replicate), traffic_json(r.world));
}

MetricsFile::MetricsFile(const std::filesystem::path& path) : path_(path), file_(std::fopen(path.c_str(), "a")) {
  if (!file_)
    throw bad_input("{} cannot be written ({}); choose another --output", path.string(), std::strerror(errno));
}

void MetricsFile::write(const std::string& json) {
  const bool ok = std::fputs((json + "\n").c_str(), file_.get()) >= 0 && std::fflush(file_.get()) == 0;
  if (!ok)
    throw does_not_fit("{}: a line could not be written ({}); free some space", path_.string(), std::strerror(errno));
}

}  // namespace sherd
