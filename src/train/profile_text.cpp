// The texts of a profile. Every line of the trace is one event, so that even a text editor reads it.
#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "sherd/base/error.hpp"
#include "sherd/base/log.hpp"
#include "sherd/file/json.hpp"
#include "sherd/train/profile_report.hpp"

namespace sherd {
namespace {

constexpr std::size_t kLongest = 10;  // rows of the table

/// A JSON literal whatever the name is made of.
std::string json_name(std::string_view name) {
  try {
    return json_quote(name);
  } catch (const Error&) {
    std::string plain(name);
    for (char& c : plain)
      if (static_cast<unsigned char>(c) >= 0x80) c = '?';
    return json_quote(plain);
  }
}

/// Chrome's unit, microseconds, without rounding: what lies within its parent stays there.
std::string microseconds(std::int64_t ns) {
  return fmt::format("{}{}.{:03}", ns < 0 ? "-" : "", std::abs(ns) / 1000, std::abs(ns) % 1000);
}

class TraceText {
 public:
  TraceText(const Profile& profile, const TraceTitle& title) : profile_(profile), title_(title) {
    text_ = fmt::format(
        "{{\"displayTimeUnit\":\"ms\",\"otherData\":{{\"program\":\"sherd\",\"origin_seconds\":{:.6f}}},"
        "\"traceEvents\":[\n",
        title.origin);
    name("process_name", 0, fmt::format("\"name\":{}", json_name(title.who)));
    name("process_sort_index", 0, fmt::format("\"sort_index\":{}", title.rank));
    name("thread_name", 0, "\"name\":\"steps\"");
    name("thread_sort_index", 0, "\"sort_index\":0");
    for (std::size_t i = 0; i < profile.streams.size(); ++i) {
      name("thread_name", i + 1, fmt::format("\"name\":{}", json_name(profile.streams[i].name)));
      name("thread_sort_index", i + 1, fmt::format("\"sort_index\":{}", i + 1));
    }
  }

  std::string text() {
    for (const ProfiledStep& step : profile_.steps)
      slice(0, step.begin, step.end, fmt::format("step {}", step.step), "step", fmt::format("\"step\":{}", step.step));
    for (std::size_t first = 0; first < profile_.ops.size();) {
      const std::size_t end = run(first, profile_.ops.size(), [](const ProfiledOp& op) { return op.stream; });
      phases(first, end);
      first = end;
    }
    text_ += "\n]}\n";
    return std::move(text_);
  }

 private:
  /// The end of the run of ops from `first` on that have the same key.
  template <class Key>
  std::size_t run(std::size_t first, std::size_t end, Key key) const {
    std::size_t i = first + 1;
    while (i < end && key(profile_.ops[i]) == key(profile_.ops[first])) ++i;
    return i;
  }

  static std::string place(const ProfiledOp& op) {
    const std::string step = fmt::format("\"step\":{}", op.step);
    return op.micro_batch < 0 ? step : fmt::format("{},\"micro_batch\":{}", step, op.micro_batch);
  }

  void parent(std::size_t first, std::size_t end, std::string_view name, std::string_view category) {
    const ProfiledOp& op = profile_.ops[first];
    slice(op.stream + 1, op.begin, profile_.ops[end - 1].end, name, category, place(op));
  }

  /// Of one stream. Other streams than the one that computes go from phase to phase as they are fed: they have none.
  void phases(std::size_t first, std::size_t end) {
    if (profile_.ops[first].stream != profile_.main_stream) return units(first, end);
    while (first < end) {
      const std::size_t next =
          run(first, end, [](const ProfiledOp& op) { return std::tuple(op.step, op.micro_batch, op.phase); });
      parent(first, next, profile_.ops[first].phase, "phase");
      units(first, next);
      first = next;
    }
  }

  void units(std::size_t first, std::size_t end) {
    while (first < end) {
      const std::size_t next =
          run(first, end, [](const ProfiledOp& op) { return std::tuple(op.step, op.micro_batch, op.unit); });
      if (!profile_.ops[first].unit.empty()) parent(first, next, profile_.ops[first].unit, "unit");
      for (; first < next; ++first) operation(profile_.ops[first]);
    }
  }

  void operation(const ProfiledOp& op) {
    std::string args = fmt::format("{},\"phase\":{}", place(op), json_name(op.phase));
    if (!op.unit.empty()) args += fmt::format(",\"unit\":{}", json_name(op.unit));
    if (op.bytes > 0) args += fmt::format(",\"bytes\":{}", op.bytes);
    slice(op.stream + 1, op.begin, op.end, op.op, name_of(op.kind), args);
  }

  void slice(int thread, std::int64_t begin, std::int64_t end, std::string_view name, std::string_view category,
             const std::string& args) {
    fmt::format_to(
        std::back_inserter(text_),
        ",\n{{\"ph\":\"X\",\"pid\":{},\"tid\":{},\"ts\":{},\"dur\":{},\"name\":{},\"cat\":{},\"args\":{{{}}}}}",
        title_.rank, thread, microseconds(begin + title_.offset_ns), microseconds(end - begin), json_name(name),
        json_name(category), args);
  }

  void name(std::string_view what, std::size_t thread, const std::string& args) {
    if (!text_.ends_with("[\n")) text_ += ",\n";
    text_ += fmt::format("{{\"ph\":\"M\",\"pid\":{},\"tid\":{},\"name\":\"{}\",\"args\":{{{}}}}}", title_.rank, thread,
                         what, args);
  }

  const Profile& profile_;
  const TraceTitle& title_;
  std::string text_;
};

double seconds(std::int64_t ns) {
  return static_cast<double>(ns) / 1e9;
}

std::string shares_json(const TimeShares& shares) {
  std::string text = "{";
  for (int kind = 0; kind < kOpKinds; ++kind)
    text +=
        fmt::format("\"{}\":{:.9f},", name_of(static_cast<OpKind>(kind)), shares.of[static_cast<std::size_t>(kind)]);
  return text + fmt::format("\"idle\":{:.9f}}}", shares.idle);
}

/// "gemm 61.2%  attention 12.0%  ...  idle 0.8%"; of what no table knows only where there is any.
std::string shares_text(const TimeShares& shares) {
  std::string text;
  for (int kind = 0; kind < kOpKinds; ++kind) {
    const double share = shares.of[static_cast<std::size_t>(kind)];
    if (share > 0 || static_cast<OpKind>(kind) != OpKind::other)
      text += fmt::format("{} {:.1f}%  ", name_of(static_cast<OpKind>(kind)), 100 * share);
  }
  return text + fmt::format("idle {:.1f}%", 100 * shares.idle);
}

double mean_seconds(const Profile& profile) {
  std::int64_t sum = 0;
  for (const ProfiledStep& step : profile.steps) sum += step.length();
  return profile.steps.empty() ? 0 : seconds(sum) / static_cast<double>(profile.steps.size());
}

double mean_collectives(const Profile& profile) {
  std::int64_t sum = 0;
  for (const ProfiledStep& step : profile.steps) sum += step.collectives;
  return profile.steps.empty() ? 0 : seconds(sum) / static_cast<double>(profile.steps.size());
}

std::string op_json(const OpTotal& op) {
  return fmt::format(
      "{{\"op\":{},\"kind\":\"{}\",\"count\":{},\"seconds\":{:.9f},\"flops_per_second\":{:.6g},\"bytes_per_second\":{:."
      "6g}}}",
      json_name(op.op), name_of(op.kind), op.count, op.seconds, op.flops_per_second, op.bytes_per_second);
}

/// "812.3 TFLOP/s, 91% of the rate of large products".
std::string rate_text(const OpTotal& op, const DeviceRates& rates) {
  const auto share = [](double reached, double rate) {
    return rate > 0 ? fmt::format("  {:.0f}%", 100 * reached / rate) : std::string();
  };
  if (op.flops_per_second > 0)
    return fmt::format("{:.4g} TFLOP/s{}", op.flops_per_second / 1e12,
                       share(op.flops_per_second, flop_rate(op.op, rates)));
  if (op.bytes_per_second > 0)
    return fmt::format("{:.4g} GB/s{}", op.bytes_per_second / 1e9, share(op.bytes_per_second, rates.bytes));
  return "";
}

}  // namespace

std::string trace_json(const Profile& profile, const TraceTitle& title) {
  return TraceText(profile, title).text();
}

std::string rank_json(const Profile& profile, int rank) {
  return fmt::format("{{\"rank\":{},\"seconds_per_step\":{:.9f},\"collectives_seconds_per_step\":{:.9f},\"share\":{}}}",
                     rank, mean_seconds(profile), mean_collectives(profile), shares_json(shares_of(profile.steps)));
}

std::string summary_json(const Profile& profile, const SummaryFacts& facts, const std::vector<std::string>& ranks) {
  const TimeShares shares = shares_of(profile.steps);
  const double mean = mean_seconds(profile), least = facts.needs.least_seconds();
  std::vector<std::string> steps, ops;
  for (const ProfiledStep& step : profile.steps)
    steps.push_back(fmt::format("{{\"step\":{},\"seconds\":{:.9f},\"collectives_seconds\":{:.9f},\"share\":{}}}",
                                step.step, seconds(step.length()), seconds(step.collectives),
                                shares_json(shares_of({step}))));
  for (const OpTotal& op : totals_of(profile, facts.needs.planned)) ops.push_back(op_json(op));
  return fmt::format(
      "{{\"version\":1,\"ranks\":{},\"seconds_per_step\":{:.9f},\"untraced_seconds_per_step\":{:.9f},\"idle_share\":{:."
      "9f},\n\"share\":{},\n\"speed_of_light\":{{\"share\":{:.6f},\"seconds\":{:.9g},\"flops_per_second\":{:.6g},"
      "\"bytes_per_second\":{:.6g},\"f8_flops_per_second\":{:.6g}}},\n\"steps\":[\n{}],\n\"operations\":[\n{}],\n\"by_"
      "rank\":[\n{}]}}\n",
      facts.ranks, mean, facts.untraced_seconds, shares.idle, shares_json(shares), mean > 0 ? least / mean : 0, least,
      facts.needs.rates.flops, facts.needs.rates.bytes, facts.needs.rates.f8_flops, fmt::join(steps, ",\n"),
      fmt::join(ops, ",\n"), fmt::join(ranks, ",\n"));
}

std::string step_line(const ProfiledStep& step) {
  return fmt::format("profile: step {}  {:.3f} ms  {}  (collectives {:.3f} ms)", step.step,
                     1e3 * seconds(step.length()), shares_text(shares_of({step})), 1e3 * seconds(step.collectives));
}

std::vector<std::string> summary_lines(const Profile& profile, const SummaryFacts& facts) {
  const double mean = mean_seconds(profile), least = facts.needs.least_seconds();
  std::vector<std::string> lines;
  lines.push_back(fmt::format("profile: {} step{}, {:.3f} ms each, {:.3f} ms untraced; {}", profile.steps.size(),
                              profile.steps.size() == 1 ? "" : "s", 1e3 * mean, 1e3 * facts.untraced_seconds,
                              shares_text(shares_of(profile.steps))));
  if (least > 0 && mean > 0)
    lines.push_back(
        fmt::format("profile: speed of light {:.3f} ms, {:.1f}% of a traced step", 1e3 * least, 100 * least / mean));
  lines.push_back(fmt::format("  {:<26}{:<14}{:>8}{:>12}{:>11}{:>8}  {}", "operation", "kind", "count", "total ms",
                              "mean us", "share", "reached, of the measured rate"));
  std::vector<OpTotal> totals = totals_of(profile, facts.needs.planned);
  totals.resize(std::min(totals.size(), kLongest));
  const double all = mean * static_cast<double>(profile.steps.size());
  for (const OpTotal& op : totals)
    lines.push_back(fmt::format("  {:<26}{:<14}{:>8}{:>12.3f}{:>11.2f}{:>7.1f}%  {}", op.op, name_of(op.kind), op.count,
                                1e3 * op.seconds, 1e6 * op.seconds / static_cast<double>(op.count),
                                all > 0 ? 100 * op.seconds / all : 0, rate_text(op, facts.needs.rates)));
  return lines;
}

}  // namespace sherd
